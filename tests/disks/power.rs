//! Power cuts of a live writer: what a device would hold is mounted beside it and must hold all that was acknowledged.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::lanes::LANES;
use crate::medium::Medium;
use crate::rack::{Disk, Rack};
use crate::stage::{on_stage, run};
use crate::volume::{Fs, Mounted};
use crate::worker::Worker;
use crate::{Dice, env};

/// Cuts after which the writer begins a new store, so that stores in the making are cut too and none fills the device.
const CUTS_OF_A_STORE: u64 = 20;

/// What the writer has acknowledged of one store.
struct Floors {
    folder: String,
    seed: u64,
    /// Whether the writer has made all accounts.
    ready: bool,
    durable: [u64; LANES],
}

impl Floors {
    fn hear(&mut self, lines: Vec<String>) -> Result<u64, String> {
        let mut heard = 0;
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["did", lane, steps, durable] => {
                    heard += 1;
                    let steps: u64 = steps.parse().unwrap();
                    let floor = &mut self.durable[lane.parse::<usize>().unwrap()];
                    if durable == "durable" {
                        assert!(steps >= *floor, "steps go on");
                        *floor = steps;
                    }
                }
                ["ready"] => self.ready = true,
                _ => return Err(format!("the writer: {line}")),
            }
        }
        Ok(heard)
    }

    fn list(&self) -> String {
        self.durable.map(|steps| steps.to_string()).join(",")
    }

    /// What a check is told: which store, and what it must hold at least. Not the `first`: of what a check was cut off from.
    fn words(&self, first: bool) -> String {
        let list = if self.ready {
            self.list()
        } else {
            "new".into()
        };
        let check = if first { "check" } else { "check-again" };
        format!("{check} {} {} {list}", self.folder, self.seed)
    }
}

#[derive(Default)]
struct Figures {
    cuts: u64,
    twice: u64,
    kills: u64,
    stores: u64,
    steps: u64,
    /// Images that the file system itself refused. (xfs, of a torn block of its own whose first sector is the new one.)
    unmountable: u64,
    /// Images at whose moment some writes were not flushed.
    unflushed: u64,
    torn: u64,
    violations: Vec<String>,
}

struct Campaign<'a> {
    fs: Fs,
    folder: &'a Path,
    rack: Rack,
    lies: bool,
    dice: Dice,
    checker: Worker,
    figures: Figures,
}

impl Campaign<'_> {
    /// Cuts the power `cuts` times under a live writer.
    fn run(mut self, cuts: u64) -> Figures {
        let disk = self.rack.insert(self.fs.blank());
        self.fs.make(&disk, &[]);
        let live = Mounted::new(self.fs, &disk, &self.folder.join("live"), "").unwrap();
        let mut floors = self.new_store(&live, None);
        let mut writer = Worker::new();
        for cut in 0..cuts {
            if self.lies && !self.figures.violations.is_empty() {
                break;
            }
            let fresh = cut % CUTS_OF_A_STORE == 0;
            if fresh || self.dice.below(8) == 0 {
                writer.kill();
                self.figures.kills += 1;
                let _ = writer.heard().map(|lines| floors.hear(lines));
                if fresh {
                    floors = self.new_store(&live, Some(&floors));
                }
                writer = Worker::new();
                let path = live.path().join(&floors.folder);
                let how = if self.lies { "lies" } else { "true" };
                writer.tell(&format!(
                    "write {} {} {} {how}",
                    path.display(),
                    floors.seed,
                    floors.list()
                ));
            }
            let busy = Duration::from_micros(self.dice.below(80_000));
            std::thread::sleep(busy);
            // What is heard before the cut was acknowledged before it.
            let heard = writer.heard().and_then(|lines| floors.hear(lines));
            match heard {
                Ok(steps) => self.figures.steps += steps,
                Err(why) => {
                    self.figures.violations.push(why);
                    break;
                }
            }
            self.cut(&disk, &floors, Some(&writer));
        }
        writer.kill();
        live.unmount().unwrap();
        self.figures
    }

    fn new_store(&mut self, live: &Mounted, old: Option<&Floors>) -> Floors {
        if let Some(old) = old {
            let path = live.path().join(&old.folder);
            run("rm", &["-rf", path.to_str().unwrap()]).unwrap();
        }
        self.figures.stores += 1;
        Floors {
            folder: format!("mail-{}", self.figures.stores),
            seed: self.dice.roll() >> 8,
            ready: false,
            durable: [0; LANES],
        }
    }

    /// Mounts what is left of `disk` now or after some more writes, and checks it. A cut under the `writer` is the first
    /// one: then the power may fail once more while that is going on.
    fn cut(&mut self, disk: &Disk, floors: &Floors, writer: Option<&Worker>) {
        let seed = self.dice.roll();
        // At any moment most writes are flushed: so mostly the moment is one at which some are not.
        let (medium, unsynced) = match self.dice.below(4) {
            0 => disk.snapshot(seed),
            _ => disk.snapshot_after(1 + self.dice.below(12), seed),
        };
        self.figures.unflushed += u64::from(unsynced > 0);
        if let Some(writer) = writer {
            // Otherwise it fills the device meanwhile.
            writer.hold(true);
        }
        self.check(&medium, seed, floors, writer.is_some());
        if let Some(writer) = writer {
            writer.hold(false);
        }
    }

    fn check(&mut self, medium: &Medium, seed: u64, floors: &Floors, first: bool) {
        let twice = first && self.dice.below(3) == 0;
        if first {
            self.figures.cuts += 1;
        } else {
            self.figures.twice += 1;
        }
        let copy = self.rack.insert(medium.clone());
        let at = self.folder.join(if first { "cut" } else { "cut-again" });
        let words = floors.words(first);
        let found = match Mounted::new(self.fs, &copy, &at, "") {
            Err(why) => {
                println!("{}: {why}", self.fs.name());
                self.figures.unmountable += 1;
                return;
            }
            Ok(mounted) => {
                self.checker.tell(&format!("{words} {}", at.display()));
                if twice {
                    let short = Duration::from_micros(self.dice.below(60_000));
                    std::thread::sleep(short);
                    // The first check goes on meanwhile, with a checker of its own.
                    let busy = std::mem::replace(&mut self.checker, Worker::new());
                    self.cut(&copy, floors, None);
                    self.checker = busy;
                }
                let found = self.checker.answer();
                if found.is_err() {
                    self.checker = Worker::new();
                }
                mounted.unmount().and(found)
            }
        };
        let lines = found.unwrap_or_else(|why| vec![format!("bad {why}")]);
        match &lines[..] {
            [fine] if fine.starts_with("fine") => {
                self.figures.torn +=
                    u64::from(fine.contains("torn") || fine.contains("did not survive"));
            }
            other => {
                // Of a writer that lies nobody wants to see more.
                let kept = (!self.lies).then(|| keep(medium, self.fs, seed, &words));
                let kept = kept.unwrap_or_default();
                self.figures
                    .violations
                    .push(format!("{}\n{kept}", other.join("\n")));
            }
        }
    }
}

/// Keeps an image for whoever wants to see what is wrong, and says how it is checked again.
fn keep(medium: &Medium, fs: Fs, seed: u64, words: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{}-{seed:016x}.img", fs.name()));
    match medium.save(&path) {
        Ok(()) => format!(
            "image kept; again: MAILKEEP_DISKS_IMAGE='{} {} {words}' cargo test --test disks power::an_image_again",
            fs.name(),
            path.display()
        ),
        Err(error) => format!("the image could not be kept: {error}"),
    }
}

fn campaign(fs: Fs, folder: &Path, cuts: u64, lies: bool) -> Figures {
    let seed = env("MAILKEEP_DISKS_SEED", 1);
    println!("{}: MAILKEEP_DISKS_SEED={seed}", fs.name());
    let began = Instant::now();
    let campaign = Campaign {
        fs,
        folder,
        rack: Rack::mount(&folder.join("rack")).unwrap(),
        lies,
        dice: Dice(seed),
        checker: Worker::new(),
        figures: Figures::default(),
    };
    let figures = campaign.run(cuts);
    println!(
        "{}: {} power cuts, {} more during the check, {} kills, {} stores, {} steps acknowledged, {} images with writes not flushed, \
         {} with a torn end, {} not mountable, {} violations, {:.0?}",
        fs.name(),
        figures.cuts,
        figures.twice,
        figures.kills,
        figures.stores,
        figures.steps,
        figures.unflushed,
        figures.torn,
        figures.unmountable,
        figures.violations.len(),
        began.elapsed(),
    );
    figures
}

fn survives(name: &str, fs: Fs) {
    on_stage(name, &[fs.need()], |folder| {
        let figures = campaign(fs, folder, env("MAILKEEP_CUTS", 20), false);
        assert!(
            figures.violations.is_empty(),
            "{}",
            figures.violations.join("\n\n")
        );
        // Otherwise nothing was tried.
        assert!(
            figures.unmountable * 20 <= figures.cuts,
            "nearly all can be mounted"
        );
        assert!(
            figures.steps > figures.cuts && figures.unflushed > 0,
            "the writer wrote"
        );
    });
}

/// Goal: on ext4, what a power cut leaves of a live store, and of one that is just being recovered, is all that was
/// acknowledged.
#[test]
fn ext4_keeps_what_was_acknowledged() {
    survives("power::ext4_keeps_what_was_acknowledged", Fs::Ext4);
}

/// Goal: the same on xfs.
#[test]
fn xfs_keeps_what_was_acknowledged() {
    survives("power::xfs_keeps_what_was_acknowledged", Fs::Xfs);
}

/// Goal: the same on btrfs.
#[test]
fn btrfs_keeps_what_was_acknowledged() {
    survives("power::btrfs_keeps_what_was_acknowledged", Fs::Btrfs);
}

/// Goal: a writer that acknowledges before the sync is caught, so the tests above can see what they look for.
#[test]
fn a_writer_that_acknowledges_too_early_is_caught() {
    let name = "power::a_writer_that_acknowledges_too_early_is_caught";
    on_stage(name, &[Fs::Ext4.need()], |folder| {
        let figures = campaign(Fs::Ext4, folder, 200, true);
        let lost = figures
            .violations
            .iter()
            .filter(|why| why.contains("is in no state"))
            .count();
        assert!(lost > 0, "{}", figures.violations.join("\n\n"));
    });
}

/// Checks one image again: `MAILKEEP_DISKS_IMAGE='FS FILE CHECK FOLDER SEED FLOORS'`, as a failed run prints it.
#[test]
fn an_image_again() {
    let Ok(image) = std::env::var("MAILKEEP_DISKS_IMAGE") else {
        return;
    };
    let words: Vec<String> = image.split(' ').map(str::to_owned).collect();
    let [fs, file, words @ ..] = &words[..] else {
        panic!("FS FILE CHECK FOLDER SEED FLOORS");
    };
    let fs = [Fs::Ext4, Fs::Xfs, Fs::Btrfs]
        .into_iter()
        .find(|known| known.name() == fs)
        .unwrap();
    on_stage("power::an_image_again", &[fs.need()], |folder| {
        let rack = Rack::mount(&folder.join("rack")).unwrap();
        let disk = rack.insert(Medium::load(Path::new(file)).unwrap());
        let mounted = Mounted::new(fs, &disk, &folder.join("cut"), "").unwrap();
        let words = words.join(" ");
        let answer = Worker::new().ask(&format!("{words} {}", mounted.path().display()));
        println!(
            "{}",
            answer
                .as_ref()
                .map_or_else(Clone::clone, |lines| lines.join("\n"))
        );
        assert!(
            answer.is_ok_and(|lines| lines[0].starts_with("fine")),
            "see above"
        );
    });
}
