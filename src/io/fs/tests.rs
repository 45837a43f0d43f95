use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;

/// A volume in a temporary directory, and its path.
fn volume() -> (tempfile::TempDir, PathBuf, Directory) {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("mail");
    let volume = Directory::create_or_open(&path, true).unwrap();
    volume.create_folder("log").unwrap();
    (above, path, volume)
}

fn open_error(volume: &Directory, name: &str, how: Open) -> ErrorKind {
    volume.open(name, how).unwrap_err().kind()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn new_names_are_private_to_their_owner() {
    let (_above, path, volume) = volume();
    volume.open("log/1", Open::Create).unwrap();
    let _lock = volume.lock("LOCK", "me").unwrap();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("log")), 0o700);
    assert_eq!(mode(&path.join("log/1")), 0o600);
    assert_eq!(mode(&path.join("LOCK")), 0o600);
}

#[test]
fn a_directory_is_created_only_when_asked_and_only_its_last_level() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("mail");
    assert_eq!(
        Directory::create_or_open(&path, false).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        Directory::create_or_open(&path.join("deep"), true)
            .unwrap_err()
            .kind(),
        ErrorKind::NotFound
    );
    Directory::create_or_open(&path, true).unwrap();
    Directory::create_or_open(&path, true).unwrap();
    let volume = Directory::create_or_open(&path, false).unwrap();
    assert_eq!(volume.describe(), path.display().to_string());
}

#[test]
fn a_directory_that_is_a_file_or_a_link_is_refused() {
    let (above, path, _volume) = volume();
    let (file, link) = (above.path().join("file"), above.path().join("link"));
    fs::write(&file, "").unwrap();
    symlink(&path, &link).unwrap();
    let with_slash = PathBuf::from(format!("{}/", link.display()));
    for wrong in [&file, &link, &with_slash] {
        for create in [false, true] {
            let error = Directory::create_or_open(wrong, create).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::NotADirectory,
                "{}",
                wrong.display()
            );
        }
    }
}

#[test]
fn a_directory_everybody_may_write_to_is_refused() {
    let (_above, path, _volume) = volume();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(
        Directory::create_or_open(&path, true).unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o775)).unwrap();
    Directory::create_or_open(&path, true).unwrap();
}

#[test]
fn names_that_leave_the_volume_are_refused_by_every_call() {
    let (above, _path, volume) = volume();
    fs::write(above.path().join("x"), "outside").unwrap();
    volume.open("y", Open::Create).unwrap();
    for name in [
        "", ".", "..", "/", "../x", "/x", "log/..", "log/../x", "./y", "log/", "log//x", "log/a/b",
        "a\0b",
    ] {
        for how in [Open::Read, Open::Write, Open::Create] {
            assert_eq!(
                open_error(&volume, name, how),
                ErrorKind::InvalidInput,
                "{name:?}"
            );
        }
        let kinds = [
            volume.rename(name, "z").unwrap_err().kind(),
            volume.rename("y", name).unwrap_err().kind(),
            volume.remove(name).unwrap_err().kind(),
            volume.create_folder(name).unwrap_err().kind(),
            volume.lock(name, "").map(drop).unwrap_err().kind(),
        ];
        assert_eq!(kinds, [ErrorKind::InvalidInput; 5], "{name:?}");
        if !name.is_empty() {
            assert_eq!(
                volume.list(name).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{name:?}"
            );
            assert_eq!(
                volume.sync_dir(name).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{name:?}"
            );
        }
    }
}

#[test]
fn symbolic_links_are_never_followed() {
    let (above, path, volume) = volume();
    let outside = above.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("1"), "theirs").unwrap();
    symlink(outside.join("1"), path.join("log/1")).unwrap();
    symlink(outside.join("new"), path.join("log/2")).unwrap();
    symlink(&outside, path.join("away")).unwrap();

    assert_eq!(
        open_error(&volume, "log/1", Open::Read),
        ErrorKind::InvalidData
    );
    assert_eq!(
        open_error(&volume, "log/1", Open::Write),
        ErrorKind::InvalidData
    );
    assert_eq!(
        open_error(&volume, "log/2", Open::Create),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        volume.lock("log/2", "").map(drop).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    for how in [Open::Read, Open::Write, Open::Create] {
        assert_eq!(open_error(&volume, "away/1", how), ErrorKind::NotADirectory);
    }
    assert_eq!(
        volume.list("away").unwrap_err().kind(),
        ErrorKind::NotADirectory
    );
    assert_eq!(
        volume.create_folder("away").unwrap_err().kind(),
        ErrorKind::NotADirectory
    );
    assert_eq!(
        volume.remove("away/1").unwrap_err().kind(),
        ErrorKind::NotADirectory
    );
    assert_eq!(
        volume.rename("away/1", "x").unwrap_err().kind(),
        ErrorKind::NotADirectory
    );
    assert!(outside.join("1").exists() && !outside.join("new").exists());
}

#[test]
fn what_is_not_a_regular_file_with_one_name_is_refused() {
    let (_above, path, volume) = volume();
    fs::write(path.join("log/1"), "x").unwrap();
    fs::hard_link(path.join("log/1"), path.join("log/2")).unwrap();
    let _socket = UnixListener::bind(path.join("socket")).unwrap();
    rustix::fs::mknodat(CWD, path.join("fifo"), FileType::Fifo, PRIVATE_FILE, 0).unwrap();
    for how in [Open::Read, Open::Write] {
        assert_eq!(open_error(&volume, "log/1", how), ErrorKind::InvalidData);
        assert_eq!(open_error(&volume, "fifo", how), ErrorKind::InvalidData);
        assert_eq!(open_error(&volume, "log", how), ErrorKind::IsADirectory);
        volume.open("socket", how).unwrap_err();
    }
    fs::remove_file(path.join("log/2")).unwrap();
    volume.open("log/1", Open::Read).unwrap();
}

#[test]
fn opening_tells_missing_from_existing() {
    let (_above, _path, volume) = volume();
    assert_eq!(
        open_error(&volume, "log/1", Open::Read),
        ErrorKind::NotFound
    );
    assert_eq!(
        open_error(&volume, "log/1", Open::Write),
        ErrorKind::NotFound
    );
    assert_eq!(
        open_error(&volume, "missing/1", Open::Create),
        ErrorKind::NotFound
    );
    volume.open("log/1", Open::Create).unwrap();
    assert_eq!(
        open_error(&volume, "log/1", Open::Create),
        ErrorKind::AlreadyExists
    );
    let file = volume.open("log/1", Open::Read).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(&[b"x"], 0).unwrap_err();
}

#[test]
fn reads_stop_at_the_end_of_the_file() {
    let (_above, _path, volume) = volume();
    let file = volume.open("1", Open::Create).unwrap();
    file.write_at(&[b"0123456789"], 0).unwrap();
    let mut buf = [b'-'; 8];
    assert_eq!(file.read_at(&mut buf, 6).unwrap(), 4);
    assert_eq!(&buf, b"6789----");
    assert_eq!(file.read_at(&mut buf, 10).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
    file.read_at(&mut buf, u64::MAX).unwrap_err();
    file.copy_to(&mut buf, 2).unwrap();
    assert_eq!(&buf, b"23456789");
    for offset in [3, 10, 1 << 40] {
        let refused = file.copy_to(&mut buf, offset).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnexpectedEof, "{offset}");
    }
}

#[test]
fn parts_are_written_one_after_the_other_however_many() {
    let (_above, _path, volume) = volume();
    let file = volume.open("1", Open::Create).unwrap();
    let content: Vec<u8> = (0..3 * PARTS_MAX + 7)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let mut parts: Vec<&[u8]> = content.chunks(1).collect();
    parts.insert(1, b"");
    file.write_at(&parts, 5).unwrap();
    assert_eq!(file.bytes(5, content.len()).unwrap(), content);
    assert_eq!(
        file.len().unwrap(),
        5 + u64::try_from(content.len()).unwrap()
    );
    file.write_at(&[], 0).unwrap();
    file.write_at(&[b"", b""], 1 << 20).unwrap();
    assert_eq!(
        file.len().unwrap(),
        5 + u64::try_from(content.len()).unwrap()
    );
    file.write_at(&[b"x"], u64::MAX).unwrap_err();
}

#[test]
fn a_file_can_be_cut_and_extended() {
    let (_above, _path, volume) = volume();
    let file = volume.open("1", Open::Create).unwrap();
    file.write_at(&[b"abcdef"], 0).unwrap();
    file.set_len(2).unwrap();
    assert_eq!(
        file.bytes(2, 1).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    file.set_len(4).unwrap();
    assert_eq!(&file.bytes(0, 4).unwrap()[..], b"ab\0\0");
    file.sync().unwrap();
}

#[test]
fn bytes_survive_the_removal_and_the_closing_of_their_file() {
    let (_above, path, volume) = volume();
    let file = volume.open("log/1", Open::Create).unwrap();
    file.write_at(&[b"still here"], 0).unwrap();
    let held = file.bytes(6, 4).unwrap();
    volume.remove("log/1").unwrap();
    volume.sync_dir("log").unwrap();
    drop((file, volume));
    assert!(!path.join("log/1").exists());
    assert_eq!(&held[..], b"here");
}

#[test]
fn rename_replaces() {
    let (_above, _path, volume) = volume();
    volume
        .open("a", Open::Create)
        .unwrap()
        .write_at(&[b"new"], 0)
        .unwrap();
    volume
        .open("log/b", Open::Create)
        .unwrap()
        .write_at(&[b"older"], 0)
        .unwrap();
    volume.rename("a", "log/b").unwrap();
    assert_eq!(open_error(&volume, "a", Open::Read), ErrorKind::NotFound);
    assert_eq!(
        &volume
            .open("log/b", Open::Read)
            .unwrap()
            .bytes(0, 3)
            .unwrap()[..],
        b"new"
    );
    assert_eq!(
        volume.rename("a", "b").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(volume.remove("a").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_listing_names_everything_once_and_follows_nothing() {
    let (_above, path, volume) = volume();
    volume
        .open("a", Open::Create)
        .unwrap()
        .write_at(&[b"12345"], 0)
        .unwrap();
    symlink("a", path.join("link")).unwrap();
    let mut found = volume.list("").unwrap();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    let expected = [
        ("a", Kind::File, 5),
        ("link", Kind::Other, 0),
        ("log", Kind::Folder, 0),
    ];
    assert_eq!(
        found,
        expected.map(|(name, kind, len)| Listed {
            name: name.to_owned(),
            kind,
            len
        })
    );
    assert!(volume.list("log").unwrap().is_empty());
    assert_eq!(
        volume.list("missing").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        volume.sync_dir("missing").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    volume.sync_dir("").unwrap();
}

#[test]
fn a_folder_may_exist_already_but_not_be_a_file() {
    let (_above, _path, volume) = volume();
    volume.create_folder("log").unwrap();
    volume.open("file", Open::Create).unwrap();
    assert_eq!(
        volume.create_folder("file").unwrap_err().kind(),
        ErrorKind::NotADirectory
    );
}

#[test]
fn the_lock_excludes_other_handles_of_this_process_until_dropped() {
    let (_above, path, volume) = volume();
    let other = Directory::create_or_open(&path, false).unwrap();
    let held = volume.lock("LOCK", "a rather long owner").unwrap();
    assert_eq!(
        volume.lock("LOCK", "x").map(drop).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert_eq!(
        other.lock("LOCK", "x").map(drop).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    let text = || fs::read_to_string(path.join("LOCK")).unwrap();
    assert_eq!(text().trim_end(), "a rather long owner");
    // A lock of the process (fcntl) would be lost here: any close of the file gives that up.
    drop(fs::File::open(path.join("LOCK")).unwrap());
    assert_eq!(
        other.lock("LOCK", "x").map(drop).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    drop(held);
    drop(other.lock("LOCK", "next").unwrap());
    assert_eq!(text().trim_end(), "next");
    // Nothing of a longer text stays behind a shorter one.
    for len in [1000, 3, 130, 127, 128] {
        let owner = "x".repeat(len);
        drop(other.lock("LOCK", &owner).unwrap());
        assert_eq!(text().trim_end(), owner);
    }
}

#[test]
fn a_volume_stays_the_same_directory_when_its_path_is_renamed() {
    let (above, path, volume) = volume();
    fs::rename(&path, above.path().join("moved")).unwrap();
    volume.open("log/1", Open::Create).unwrap();
    assert!(above.path().join("moved/log/1").exists());
}

#[test]
fn descriptors_are_moved_clear_of_the_standard_ones() {
    let (_above, _path, volume) = volume();
    let moved = above_stdio(volume.folder("").unwrap(), 100).unwrap();
    assert!(moved.as_raw_fd() >= 100);
    let flags = rustix::io::fcntl_getfd(&moved).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn a_write_that_hits_a_limit_is_returned() {
    // /dev/full takes nothing: the only certain ENOSPC on any machine.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(
        write_all(&full, &[b"x"], 0).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    full.write_at(b"x", 0).unwrap_err();
}

#[test]
fn the_system_knows_the_time_and_itself() {
    assert!(System.now_ms() > 1_700_000_000_000);
    assert!(
        System
            .identity()
            .starts_with(&format!("{}@", std::process::id()))
    );
    let ids = [
        System.unique(),
        System.unique(),
        unique_without_randomness(),
        unique_without_randomness(),
    ];
    for (n, id) in ids.iter().enumerate() {
        assert!(!ids[..n].contains(id) && *id != [0; 16]);
    }
}

/// Goal: a lock that is given up a moment later, as a process that was just started gives up its copies of our
/// descriptors, is waited for. In one of some rounds at least: a busy machine may hold up whoever gives it up.
#[test]
fn a_lock_that_is_held_for_a_moment_is_waited_for() {
    let (_above, path, volume) = volume();
    let waited = (0..5).any(|_| {
        let held = volume.lock("LOCK", "copied").unwrap();
        let moment = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            drop(held);
        });
        let locked = volume.lock("LOCK", "next").is_ok();
        moment.join().unwrap();
        locked
    });
    assert!(waited);
    assert_eq!(
        fs::read(path.join("LOCK")).unwrap().trim_ascii_end(),
        b"next"
    );
}
