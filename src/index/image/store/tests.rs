use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::io::{Directory, Listed};

const ACCOUNT: AccountId = AccountId::from_bytes([5; 16]);
const STORE: StoreId = StoreId([3; 16]);

/// A real folder whose writes or syncs can be made to fail.
#[derive(Debug)]
struct Disk {
    directory: Directory,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    write: AtomicBool,
    sync: AtomicBool,
    sync_dir: AtomicBool,
}

fn fail(fault: &AtomicBool) -> io::Result<()> {
    if fault.load(Ordering::Relaxed) {
        return Err(io::Error::other("made to fail"));
    }
    Ok(())
}

#[derive(Debug)]
struct Watched {
    file: Arc<dyn File>,
    faults: Arc<Faults>,
}

impl File for Watched {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        fail(&self.faults.write)?;
        self.file.write_at(parts, offset)
    }
    fn sync(&self) -> io::Result<()> {
        fail(&self.faults.sync)?;
        self.file.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn bytes(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.file.bytes(offset, len)
    }
}

impl Storage for Disk {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.directory.open(name, how)?;
        let faults = Arc::clone(&self.faults);
        Ok(Arc::new(Watched { file, faults }))
    }
    fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        self.directory.list(folder)
    }
    fn create_folder(&self, folder: &str) -> io::Result<()> {
        self.directory.create_folder(folder)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }
    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        fail(&self.faults.sync_dir)?;
        self.directory.sync_dir(folder)
    }
    fn lock(&self, name: &str, owner: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.directory.lock(name, owner)
    }
    fn describe(&self) -> String {
        "volume".into()
    }
}

struct Bench {
    disk: Arc<Disk>,
    faults: Arc<Faults>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::create_or_open(folder.path(), false).unwrap();
        directory.create_folder(FOLDER).unwrap();
        let faults = Arc::<Faults>::default();
        let disk = Disk {
            directory,
            faults: Arc::clone(&faults),
        };
        Self {
            disk: Arc::new(disk),
            faults,
            _folder: folder,
        }
    }

    fn open(&self, files: &[ImageFile], next: u32) -> ImageStore {
        ImageStore::open(Arc::<Disk>::clone(&self.disk), STORE, files, next)
    }

    /// Changes bytes of a file on the disk.
    fn scribble(&self, number: u32, offset: u64, bytes: &[u8]) {
        let file = self.disk.open(&name_of(number), Open::Write).unwrap();
        file.write_at(&[bytes], offset).unwrap();
    }
}

fn walked(images: &ImageStore, number: u32) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    images.walk(number, |found| {
        all.push(found);
        Ok(())
    })?;
    Ok(all)
}

/// Goal: blobs of any length come back, aligned, also after opening again, and a walk finds each.
#[test]
fn blobs_come_back() {
    let bench = Bench::new();
    let images = bench.open(&[], 4);
    let blobs: Vec<Vec<u8>> = (1..40_u8).map(|n| vec![n; usize::from(n)]).collect();
    let places: Vec<_> = (1..)
        .zip(&blobs)
        .map(|(record, blob)| images.append(ACCOUNT, record, blob).unwrap())
        .collect();
    images.sync().unwrap();
    assert_eq!(images.next_number(), 5);
    let files = images.files();
    let again = bench.open(&files, 5);
    for (at, blob) in places.iter().zip(&blobs) {
        for images in [&images, &again] {
            let bytes = images.read(at).unwrap();
            assert_eq!(bytes, blob);
            assert_eq!(bytes.as_ptr().align_offset(8), 0);
        }
    }
    let found = walked(&again, 4).unwrap();
    assert!(
        found
            .iter()
            .map(|found| found.at)
            .eq(places.iter().copied())
    );
    assert!(found.iter().all(|found| found.account == ACCOUNT));
    assert_eq!(walked(&again, 9).unwrap(), []);
    let end = bench
        .disk
        .open(&name_of(4), Open::Read)
        .unwrap()
        .len()
        .unwrap();
    assert_eq!(
        files,
        [ImageFile {
            number: 4,
            len: end,
            dead: 0
        }]
    );
}

/// Goal: appends go to a new file after opening, over numbers that are taken, and when a file is full.
#[test]
fn appends_begin_new_files() {
    let bench = Bench::new();
    let first = bench.open(&[], 0).append(ACCOUNT, 1, b"one").unwrap();
    // The checkpoint knows nothing of that file.
    let images = bench.open(&[], 0);
    let second = images.append(ACCOUNT, 1, b"two").unwrap();
    assert_eq!((first.file, second.file), (0, 1));
    let images = bench.open(&images.files(), 0);
    assert_eq!(images.append(ACCOUNT, 2, b"three").unwrap().file, 2);
    assert!(images.is_active(2) && !images.is_active(1));
    images.state.lock().files.get_mut(&2).unwrap().len = FILE_LEN;
    assert_eq!(images.append(ACCOUNT, 3, b"four").unwrap().file, 3);
    images.sync().unwrap();
    assert!(matches!(
        images.append(ACCOUNT, 3, b""),
        Err(Error::TooLarge { .. })
    ));
}

/// Goal: a head with any bit flipped, a place that is another's, and a file that is cut or gone are errors.
#[test]
fn wrong_places_are_told() {
    let bench = Bench::new();
    let images = bench.open(&[], 1);
    let at = images.append(ACCOUNT, 7, b"content").unwrap();
    let next = images.append(ACCOUNT, 8, b"content").unwrap();
    let head = images.range(at.file, at.offset, HEAD).unwrap().to_vec();
    for wrong in [
        ImageAt { record: 8, ..at },
        ImageAt { len: 6, ..at },
        ImageAt {
            len: u32::MAX,
            ..at
        },
        ImageAt { offset: 8, ..at },
        ImageAt {
            offset: u64::MAX,
            ..at
        },
        ImageAt {
            offset: 1 << 40,
            ..at
        },
    ] {
        assert!(
            matches!(images.read(&wrong), Err(Error::Damaged { .. })),
            "{wrong:?}"
        );
    }
    let gone = ImageAt { file: 9, ..at };
    assert!(matches!(images.read(&gone), Err(Error::Io { .. })));
    let other = ImageStore::open(
        Arc::<Disk>::clone(&bench.disk),
        StoreId([4; 16]),
        &images.files(),
        2,
    );
    assert!(other.read(&at).is_err(), "another store's");
    assert!(
        images.found(1, next.offset, &head).is_err(),
        "another place's"
    );
    assert!(images.found(2, 0, &head).is_err(), "another file's");
    for byte in 0..HEAD {
        let mut bad = head.clone();
        bad[byte] ^= 4;
        bench.scribble(at.file, at.offset, &bad);
        let images = bench.open(&images.files(), 2);
        assert!(matches!(
            images.read(&at),
            Err(Error::Damaged { offset: 0, .. })
        ));
        assert!(walked(&images, at.file).is_err());
        assert_eq!(images.read(&next).unwrap(), b"content"[..]);
    }
}

/// Goal: what is dead is counted, and a file that is taken away leaves what is held.
#[test]
fn files_are_counted_and_removed() {
    let bench = Bench::new();
    let images = bench.open(&[], 1);
    let one = images.append(ACCOUNT, 1, &[1; 100]).unwrap();
    let two = images.append(ACCOUNT, 2, &[2; 100]).unwrap();
    images.release(&one);
    let file = images.files()[0];
    assert_eq!((file.dead, file.len), (144, 288));
    images.release(&two);
    images.release(&two);
    assert_eq!(images.files()[0].dead, 288, "never more than there is");
    let held = images.read(&two).unwrap();
    images.remove(1).unwrap();
    images.remove(1).unwrap();
    assert_eq!(held, vec![2; 100]);
    assert!(images.read(&two).is_err());
    assert_eq!(images.files(), []);
    assert_eq!(images.append(ACCOUNT, 3, b"on").unwrap().file, 2);
    images.sync().unwrap();
}

/// Goal: what a failed write was to hold is not known, and its file is not written again.
#[test]
fn a_failed_write_ends_its_file() {
    let bench = Bench::new();
    let images = bench.open(&[], 1);
    let before = images.append(ACCOUNT, 1, b"before").unwrap();
    bench.faults.write.store(true, Ordering::Relaxed);
    assert!(matches!(
        images.append(ACCOUNT, 2, b"lost"),
        Err(Error::Io { op: "write", .. })
    ));
    bench.faults.write.store(false, Ordering::Relaxed);
    let after = images.append(ACCOUNT, 2, b"after").unwrap();
    assert_eq!((before.file, after.file), (1, 2));
    images.sync().unwrap();
    assert_eq!(walked(&images, 1).unwrap().len(), 1);
    assert_eq!(images.read(&before).unwrap(), b"before"[..]);
}

/// Goal: after a sync that failed none succeeds before the file is given up.
#[test]
fn a_failed_sync_is_not_forgotten() {
    let bench = Bench::new();
    let images = bench.open(&[], 1);
    images.append(ACCOUNT, 1, b"doubtful").unwrap();
    bench.faults.sync.store(true, Ordering::Relaxed);
    assert!(images.sync().is_err());
    bench.faults.sync.store(false, Ordering::Relaxed);
    assert!(images.sync().is_err(), "a second sync proves nothing");
    assert_eq!(images.append(ACCOUNT, 2, b"sound").unwrap().file, 2);
    assert!(images.sync().is_err());
    images.remove(1).unwrap();
    images.sync().unwrap();
    bench.faults.sync_dir.store(true, Ordering::Relaxed);
    images.sync().unwrap();
    images.state.lock().files.get_mut(&2).unwrap().len = FILE_LEN;
    images.append(ACCOUNT, 3, b"in a new file").unwrap();
    assert!(images.sync().is_err(), "the name is in doubt");
    assert!(images.sync().is_err());
    bench.faults.sync_dir.store(false, Ordering::Relaxed);
    images.sync().unwrap();
}

/// Goal: only so many files are open at once, and all can be read.
#[test]
fn few_files_are_open() {
    let bench = Bench::new();
    let images = bench.open(&[], 0);
    let mut places = Vec::new();
    for record in 0..300 {
        places.push(images.append(ACCOUNT, record, &[9]).unwrap());
        images.active.lock().open = None;
    }
    images.sync().unwrap();
    for at in places.iter().chain(&places) {
        assert_eq!(images.read(at).unwrap(), [9][..]);
        assert!(images.state.lock().open.len() <= OPEN_MAX);
    }
}
