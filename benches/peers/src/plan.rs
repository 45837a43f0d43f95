//! The workloads: what is done, in which order, by which stores, and how much of it.

use crate::corpus::Size;
use crate::stores::Way;

/// One kind of work. Those of a chain are done one after the other on the same files, which the first one makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) chain: &'static str,
    pub(crate) step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Deliver {
        size: Size,
        threads: usize,
        durable: bool,
        /// On a file system of its own, whose device is asked what was written.
        device: bool,
        /// Again and again, until it is far more than memory has; only where it is asked for.
        long: bool,
    },
    /// One million small messages in batches.
    Bulk,
    Read {
        threads: usize,
    },
    Scan,
    FlagOne,
    FlagMany {
        /// Every tenth message, not the first ones.
        scattered: bool,
    },
    Copy,
    /// After a clean close, or after SIGKILL amid deliveries.
    Open {
        killed: bool,
    },
}

const fn deliver(size: Size, threads: usize, durable: bool) -> Step {
    Step::Deliver {
        size,
        threads,
        durable,
        device: false,
        long: false,
    }
}

const fn workload(name: &'static str, chain: &'static str, step: Step) -> Workload {
    Workload { name, chain, step }
}

const SMALL: Size = Size::Fixed(4096);

pub(crate) const WORKLOADS: [Workload; 19] = [
    workload("durable-4k-1", "4k-1", deliver(SMALL, 1, true)),
    workload("durable-4k-16", "4k-16", deliver(SMALL, 16, true)),
    workload("durable-mail-1", "mail-1", deliver(Size::Mail, 1, true)),
    workload("written-mail-1", "written", deliver(Size::Mail, 1, false)),
    workload("durable-mail-16", "mail", deliver(Size::Mail, 16, true)),
    workload("read-mail-1", "mail", Step::Read { threads: 1 }),
    workload("read-mail-2", "mail", Step::Read { threads: 2 }),
    workload("bulk-300", "million", Step::Bulk),
    workload("open-clean", "million", Step::Open { killed: false }),
    workload("read-300-1", "million", Step::Read { threads: 1 }),
    workload("read-300-2", "million", Step::Read { threads: 2 }),
    workload("scan", "million", Step::Scan),
    workload("flag-one", "million", Step::FlagOne),
    workload("flag-first", "million", Step::FlagMany { scattered: false }),
    workload(
        "flag-scattered",
        "million",
        Step::FlagMany { scattered: true },
    ),
    workload("copy", "million", Step::Copy),
    workload("open-killed", "million", Step::Open { killed: true }),
    workload(
        "device-mail-16",
        "device",
        Step::Deliver {
            size: Size::Mail,
            threads: 16,
            durable: true,
            device: true,
            long: false,
        },
    ),
    workload(
        "long-mail-16",
        "long",
        Step::Deliver {
            size: Size::Mail,
            threads: 16,
            durable: true,
            device: false,
            long: true,
        },
    ),
];

impl Workload {
    pub(crate) fn named(name: &str) -> Option<Self> {
        WORKLOADS.into_iter().find(|workload| workload.name == name)
    }

    /// What the messages of its chain are like.
    pub(crate) fn size(&self) -> Size {
        match self.step {
            Step::Deliver { size, .. } => size,
            _ if self.chain == "mail" => Size::Mail,
            _ => Size::Fixed(300),
        }
    }

    /// Whether the files have to be made first, by another workload.
    pub(crate) fn makes(&self) -> bool {
        matches!(self.step, Step::Deliver { .. } | Step::Bulk)
    }

    pub(crate) fn is_of(&self, way: Way) -> bool {
        match way {
            Way::MailkeepUnguarded | Way::RawBare => matches!(self.step, Step::Read { .. }),
            Way::MailkeepUnprepared => self.on_device(),
            // All of its blocks would have to be written before.
            Way::RawZero => !self.is_long(),
            _ => true,
        }
    }

    pub(crate) fn is_long(&self) -> bool {
        matches!(self.step, Step::Deliver { long: true, .. })
    }

    pub(crate) fn on_device(&self) -> bool {
        matches!(self.step, Step::Deliver { device: true, .. })
    }
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Delivered one by one, over as many accounts.
    pub(crate) messages: u64,
    pub(crate) accounts: u32,
    /// The same where the device is watched.
    pub(crate) device_messages: u64,
    /// How often all of them are delivered in the long run.
    pub(crate) passes: u64,
    /// Loaded in batches: `large` of them are in one mailbox, the others in those of `accounts` accounts.
    pub(crate) million: u64,
    pub(crate) large: u64,
    pub(crate) batch: usize,
    /// Flags set one by one; flags or copies in one commit.
    pub(crate) singles: usize,
    pub(crate) many: usize,
    pub(crate) read_millis: u64,
    /// Bytes that are acknowledged before the process is killed.
    pub(crate) tail: u64,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        messages: 20_000,
        accounts: 100,
        device_messages: 5_000,
        passes: 27,
        million: 1_000_000,
        large: 100_000,
        batch: 1_000,
        singles: 1_000,
        many: 10_000,
        read_millis: 2_000,
        tail: 8 << 20,
    };
    /// Seconds: to see that everything works.
    pub(crate) const QUICK: Self = Self {
        messages: 200,
        accounts: 10,
        device_messages: 100,
        passes: 2,
        million: 5_000,
        large: 1_000,
        batch: 100,
        singles: 20,
        many: 100,
        read_millis: 50,
        tail: 64 << 10,
    };

    pub(crate) fn of(quick: bool) -> Self {
        if quick { Self::QUICK } else { Self::FULL }
    }
}
