//! What is measured, and what is asked of it: ratios of one run, and a few plain bounds.

use crate::stores::Way;

/// Which figure of a workload is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) figure: &'static str,
    /// What it is, for people.
    pub(crate) label: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) targets: &'static [Target],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) of: Way,
    pub(crate) against: Against,
    pub(crate) bound: Bound,
}

/// What a figure is divided by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Against {
    /// Nothing.
    Nothing,
    /// The same figure of the best of these.
    Best(&'static [Way]),
    /// mailkeep's own figure of another workload.
    Workload(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub(crate) fn holds(self, found: f64) -> bool {
        match self {
            Self::AtLeast(least) => found >= least,
            Self::AtMost(most) => found <= most,
        }
    }
}

const RAW: Against = Against::Best(&[Way::RawZero]);
const GROWING: Against = Against::Best(&[Way::Raw]);
const BARE: Against = Against::Best(&[Way::RawBare]);
const PEER: Against = Against::Best(&Way::PEERS);
const MAILDIR: Against = Against::Best(&[Way::Maildir]);
const ENGINE: Against =
    Against::Best(&[Way::Sqlite, Way::Lmdb, Way::Redb, Way::Fjall, Way::Rocksdb]);
const CHECKING: Against = Against::Best(&[Way::Fjall, Way::Rocksdb]);

const fn least(against: Against, bound: f64) -> Target {
    Target {
        of: Way::Mailkeep,
        against,
        bound: Bound::AtLeast(bound),
    }
}

const fn most(against: Against, bound: f64) -> Target {
    Target {
        of: Way::Mailkeep,
        against,
        bound: Bound::AtMost(bound),
    }
}

const fn alone(bound: f64) -> Target {
    most(Against::Nothing, bound)
}

const fn row(
    (workload, figure): (&'static str, &'static str),
    label: &'static str,
    unit: &'static str,
    better: Better,
    targets: &'static [Target],
) -> Row {
    Row {
        workload,
        figure,
        label,
        unit,
        better,
        targets,
    }
}

use Better::{Less, More};

pub(crate) const ROWS: [Row; 50] = [
    row(
        ("durable-4k-1", "per_s"),
        "durable delivery, 1 thread, 4 KiB",
        "/s",
        More,
        &[least(RAW, 0.85), least(PEER, 1.5)],
    ),
    row(("durable-4k-1", "p50_us"), "- median", "us", Less, &[]),
    row(("durable-4k-1", "p99_us"), "- 99 %", "us", Less, &[]),
    row(("durable-4k-1", "max_us"), "- longest", "us", Less, &[]),
    row(
        ("durable-mail-1", "per_s"),
        "durable delivery, 1 thread, mail-sized",
        "/s",
        More,
        &[least(RAW, 0.85), least(PEER, 2.0)],
    ),
    row(("durable-mail-1", "p50_us"), "- median", "us", Less, &[]),
    row(("durable-mail-1", "p99_us"), "- 99 %", "us", Less, &[]),
    row(("durable-mail-1", "max_us"), "- longest", "us", Less, &[]),
    row(
        ("durable-4k-16", "per_s"),
        "durable delivery, 16 threads, 4 KiB",
        "/s",
        More,
        &[least(RAW, 0.85), least(PEER, 2.5)],
    ),
    row(("durable-4k-16", "p50_us"), "- median", "us", Less, &[]),
    row(
        ("durable-4k-16", "p99_us"),
        "- 99 %",
        "us",
        Less,
        &[most(PEER, 1.0)],
    ),
    row(("durable-4k-16", "max_us"), "- longest", "us", Less, &[]),
    row(
        ("durable-mail-16", "per_s"),
        "durable delivery, 16 threads, mail-sized",
        "/s",
        More,
        &[least(RAW, 0.85), least(MAILDIR, 2.0), least(ENGINE, 3.0)],
    ),
    row(("durable-mail-16", "p50_us"), "- median", "us", Less, &[]),
    row(
        ("durable-mail-16", "p99_us"),
        "- 99 %",
        "us",
        Less,
        &[most(PEER, 1.0)],
    ),
    row(("durable-mail-16", "max_us"), "- longest", "us", Less, &[]),
    row(
        ("durable-mail-16", "space"),
        "space on the disk / bytes of mail, mail-sized",
        "",
        Less,
        &[],
    ),
    row(
        ("durable-mail-16", "filled"),
        "- without blocks of zeroes",
        "",
        Less,
        &[alone(1.03)],
    ),
    row(
        ("durable-mail-16", "process_amp"),
        "- written by the process / bytes of mail",
        "",
        Less,
        &[],
    ),
    row(
        ("long-mail-16", "per_s"),
        "durable delivery, 16 threads, mail-sized, 20 GiB",
        "/s",
        More,
        &[least(PEER, 1.5)],
    ),
    row(("long-mail-16", "p50_us"), "- median", "us", Less, &[]),
    row(("long-mail-16", "p99_us"), "- 99 %", "us", Less, &[]),
    row(("long-mail-16", "max_us"), "- longest", "us", Less, &[]),
    row(
        ("device-mail-16", "device_amp"),
        "written to the device / bytes of mail, 16 threads",
        "",
        Less,
        &[Target {
            of: Way::MailkeepUnprepared,
            against: Against::Nothing,
            bound: Bound::AtMost(1.15),
        }],
    ),
    row(
        ("written-mail-1", "per_s"),
        "written delivery, 1 thread, mail-sized",
        "/s",
        More,
        &[least(GROWING, 0.6), least(CHECKING, 1.0)],
    ),
    row(("written-mail-1", "p50_us"), "- median", "us", Less, &[]),
    row(("written-mail-1", "p99_us"), "- 99 %", "us", Less, &[]),
    row(
        ("read-mail-1", "mean_ns"),
        "random read, mail-sized, 1 thread",
        "ns",
        Less,
        &[most(BARE, 1.3), most(PEER, 1.0 / 6.0)],
    ),
    row(("read-mail-1", "p50_ns"), "- median", "ns", Less, &[]),
    row(("read-mail-1", "p99_ns"), "- 99 %", "ns", Less, &[]),
    row(
        ("read-mail-2", "per_s"),
        "random reads, mail-sized, 2 threads",
        "/s",
        More,
        &[least(Against::Workload("read-mail-1"), 1.8)],
    ),
    row(
        ("read-300-1", "mean_ns"),
        "random read, 300 B of 1,000,000, 1 thread",
        "ns",
        Less,
        &[most(BARE, 1.3), alone(400.0), most(PEER, 1.0 / 6.0)],
    ),
    row(("read-300-1", "p99_ns"), "- 99 %", "ns", Less, &[]),
    row(
        ("read-300-2", "per_s"),
        "random reads, 300 B of 1,000,000, 2 threads",
        "/s",
        More,
        &[least(Against::Workload("read-300-1"), 1.8)],
    ),
    row(
        ("scan", "p50_ns"),
        "flags of 100,000 messages, each",
        "ns",
        Less,
        &[alone(1.0), most(PEER, 1.0 / 15.0)],
    ),
    row(
        ("flag-one", "p50_us"),
        "one flag, durable, median",
        "us",
        Less,
        &[most(RAW, 1.2)],
    ),
    row(("flag-one", "p99_us"), "- 99 %", "us", Less, &[]),
    row(
        ("flag-first", "p50_ms"),
        "10,000 flags in one commit, the first ones",
        "ms",
        Less,
        &[alone(1.0), most(PEER, 0.1)],
    ),
    row(
        ("flag-scattered", "p50_ms"),
        "10,000 flags in one commit, every tenth",
        "ms",
        Less,
        &[],
    ),
    row(
        ("copy", "p50_ms"),
        "copy of 10,000 in one commit",
        "ms",
        Less,
        &[alone(3.0), most(PEER, 0.1)],
    ),
    row(
        ("bulk-300", "per_s"),
        "bulk load of 1,000,000 x 300 B, batches of 1,000",
        "/s",
        More,
        &[least(PEER, 4.0)],
    ),
    row(
        ("bulk-300", "space_beside"),
        "- space on the disk beside the 300 B of each",
        "B",
        Less,
        &[],
    ),
    row(
        ("bulk-300", "filled_beside"),
        "- the same without blocks of zeroes",
        "B",
        Less,
        &[alone(250.0)],
    ),
    row(
        ("open-clean", "open_ms"),
        "open at 1,000,000 messages, closed before",
        "ms",
        Less,
        &[alone(1.0)],
    ),
    row(
        ("open-clean", "ready_ms"),
        "- and the first message read",
        "ms",
        Less,
        &[],
    ),
    row(
        ("open-clean", "open_anon_mib"),
        "- anonymous memory after opening",
        "MiB",
        Less,
        &[alone(2.0)],
    ),
    row(
        ("open-clean", "touched_anon_mib"),
        "- the same when 1 % was read",
        "MiB",
        Less,
        &[],
    ),
    row(
        ("open-clean", "touched_file_mib"),
        "- pages of files in memory then",
        "MiB",
        Less,
        &[alone(80.0)],
    ),
    row(
        ("open-killed", "open_ms"),
        "open at 1,000,000 messages, killed 8 MiB after the last close",
        "ms",
        Less,
        &[alone(5.0)],
    ),
    row(
        ("open-killed", "ready_ms"),
        "- and the first message read",
        "ms",
        Less,
        &[],
    ),
];
