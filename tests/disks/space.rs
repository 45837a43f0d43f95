//! Limits of the system: a full file system, a quota, no more open files. The errors are typed, reads go on, and when there
//! is room again the store resumes without being opened anew.

use std::path::Path;

use crate::faults::Patient;
use crate::rack::Rack;
use crate::stage::{need, on_stage, run};
use crate::volume::{Fs, Mounted};
use crate::worker::Worker;

/// Fills what there is, room is made, and all goes on; then it is opened again from the device. Whether mail is removed for
/// `sure` meanwhile: some keep for themselves what the reserve gives.
fn fill_and_go_on(
    patient: &mut Patient,
    store: &Path,
    sure: bool,
    make_room: impl FnOnce() -> Result<(), String>,
) -> Result<String, String> {
    patient.open(store)?;
    let mut refused = Vec::new();
    while refused.len() < 20 {
        refused.extend(patient.deliver(30)?);
        if patient.acked.len() > 20_000 {
            return Err("it does not fill".into());
        }
    }
    if let Some(other) = refused.iter().find(|why| !why.starts_with("NoSpace")) {
        return Err(format!("not NoSpace: {other}"));
    }
    let unread = patient.read()?;
    if !unread.is_empty() {
        return Err(format!("unread on a full disk: {unread:?}"));
    }
    let full = patient.acked.len();
    // There is room for removing mail, and for nothing else: now, and in a store that is opened there.
    let mut destroyed = String::new();
    for again in [false, true, false, false] {
        // Where even what is written over needs room, it does not open.
        if again && sure {
            patient.close()?;
            patient.open(store)?;
            while patient.deliver(10)?.len() < 10 {}
        }
        let gone: Vec<String> = patient.acked.drain(..3).collect();
        let told = patient.ask(&format!("destroy {}", gone.join(",")))?;
        destroyed = told.join(" ");
        if destroyed.starts_with("refused NoSpace") && !sure {
            patient.acked.extend(gone);
        } else if !destroyed.starts_with("destroyed 3") {
            return Err(destroyed);
        }
    }
    make_room()?;
    let refused = patient.deliver(40)?;
    if !refused.is_empty() {
        return Err(format!("there is room again: {refused:?}"));
    }
    Ok(format!(
        "{full} acknowledged until full, {}",
        destroyed.split('{').next().unwrap_or("")
    ))
}

/// The store is opened again from the device itself.
fn mount_again(
    patient: &mut Patient,
    store: &Path,
    mounted: Mounted,
    mount: impl FnOnce() -> Result<Mounted, String>,
) -> Result<(), String> {
    patient.close()?;
    mounted.unmount()?;
    let mounted = mount()?;
    patient.open(store)?;
    patient.must_be_sound()?;
    patient.close()?;
    mounted.unmount()
}

fn full_disk(fs: Fs, folder: &Path) -> Result<String, String> {
    let rack = Rack::mount(&folder.join("rack")).map_err(|error| error.to_string())?;
    let disk = rack.insert(fs.blank());
    fs.make(&disk, &[]);
    let live = folder.join("live");
    let mount = || Mounted::new(fs, &disk, &live, "");
    let mounted = mount()?;
    let free = run("stat", &["-f", "-c", "%a %S", live.to_str().unwrap()])?;
    let (blocks, size) = free.split_once(' ').ok_or("stat says nothing")?;
    let free = blocks.parse::<u64>().unwrap() * size.parse::<u64>().unwrap();
    // btrfs gives space to data and to itself in large pieces.
    let left = if fs == Fs::Btrfs { 48 << 20 } else { 8 << 20 };
    let ballast = live.join("ballast");
    let ballast = ballast.to_str().unwrap();
    run("fallocate", &["-l", &(free - left).to_string(), ballast])?;
    let mut patient = Patient::new(Worker::new(), 20_000);
    let store = live.join("mail");
    let how = fill_and_go_on(&mut patient, &store, fs != Fs::Xfs, || {
        run("rm", &[ballast])?;
        // btrfs has the room once it has written that.
        run("sync", &["-f", live.to_str().unwrap()]).map(drop)
    })?;
    mount_again(&mut patient, &store, mounted, mount)?;
    Ok(how)
}

fn fills(name: &str, fs: Fs) {
    on_stage(name, &[fs.need()], |folder| {
        println!("{} is full: {}", fs.name(), full_disk(fs, folder).unwrap());
    });
}

/// Goal: on a full ext4 nothing is lost, what fails says so, and the store resumes by itself.
#[test]
fn ext4_is_full() {
    fills("space::ext4_is_full", Fs::Ext4);
}

/// Goal: the same on xfs.
#[test]
fn xfs_is_full() {
    fills("space::xfs_is_full", Fs::Xfs);
}

/// Goal: the same on btrfs.
#[test]
fn btrfs_is_full() {
    fills("space::btrfs_is_full", Fs::Btrfs);
}

/// Goal: a quota that is used up is told and survived as a full disk is. (Of the three only btrfs has quotas that bind
/// whoever runs the tests, and they need no support by the kernel beside its own.)
#[test]
fn btrfs_quota_is_used_up() {
    let name = "space::btrfs_quota_is_used_up";
    on_stage(
        name,
        &[Fs::Btrfs.need(), need("btrfs", "btrfs-progs")],
        |folder| {
            println!("btrfs quota: {}", quota(folder).unwrap());
        },
    );
}

fn quota(folder: &Path) -> Result<String, String> {
    let rack = Rack::mount(&folder.join("rack")).map_err(|error| error.to_string())?;
    let disk = rack.insert(Fs::Btrfs.blank());
    Fs::Btrfs.make(&disk, &[]);
    let live = folder.join("live");
    let mount = || Mounted::new(Fs::Btrfs, &disk, &live, "");
    let mounted = mount()?;
    let place = live.to_str().unwrap();
    run("btrfs", &["quota", "enable", place])?;
    run("btrfs", &["qgroup", "limit", "12M", place])?;
    let mut patient = Patient::new(Worker::new(), 20_000);
    let store = live.join("mail");
    let how = fill_and_go_on(&mut patient, &store, false, || {
        run("btrfs", &["qgroup", "limit", "none", place]).map(drop)
    })?;
    mount_again(&mut patient, &store, mounted, mount)?;
    Ok(how)
}

/// Goal: without one more file to open nothing is lost and nobody dies, and with files again the store goes on.
/// Needs no rights: the limit is that of a process of its own.
#[test]
fn no_more_open_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("mail");
    let mut patient = Patient::new(Worker::new(), 60_000);
    // From here on there is an account.
    patient.open(&store).unwrap();
    assert!(patient.deliver(1).unwrap().is_empty());
    assert_eq!(patient.close().unwrap(), ["closed"]);
    let (mut opened, mut refused, mut ill) = (0, 0, 0);
    for more in 0..24 {
        patient.ask(&format!("files {more}")).unwrap();
        match patient.open(&store) {
            Ok(()) => opened += 1,
            Err(why) => {
                assert!(why.contains("refused Io"), "{why}");
                refused += 1;
                assert!(patient.ask("files all").unwrap().is_empty());
                patient.open(&store).unwrap();
                patient.ask(&format!("files {}", more / 4)).unwrap();
            }
        }
        // Through several segments.
        for why in patient.deliver(40).unwrap() {
            assert!(
                ["Io", "Stopped"].iter().any(|kind| why.starts_with(kind)),
                "{why}"
            );
            ill += 1;
        }
        for why in patient.read().unwrap() {
            assert!(why.contains(" Io "), "{more} more: {why}");
        }
        assert!(patient.ask("files all").unwrap().is_empty());
        let unread = patient.read().unwrap();
        assert!(unread.is_empty(), "{more} more: {unread:?}");
        patient.close().unwrap();
        patient.open(&store).unwrap();
        patient.must_be_sound().unwrap();
        assert_eq!(patient.close().unwrap(), ["closed"]);
    }
    println!("{opened} openings with few files, {refused} refused, {ill} deliveries refused");
    assert!(opened > 0 && refused > 0 && ill > 0, "the limit was met");
}
