//! The guard: what keeps a page that cannot be read from ending the process.
//!
//! A handler of `SIGBUS`, for the whole process, that somebody has to ask for. Without it nothing is mapped. See
//! [`install_guard`] for what it does to the process.
//!
//! What the handler may do is little: it runs on a thread that may hold any lock. It looks an address up in a table of
//! atomics, counts, and makes one system call, `mmap`, past the wrapper of libc, which may take a lock. `errno` is put
//! back.
//!
//! *Poison first, zeroes second.* The page is counted before it is replaced. So another thread that reads the zeroes
//! and looks at the count afterwards finds it raised, whoever met the page.
//!
//! *Zeroes and not a jump out.* Leaving the code that faulted, by `siglongjmp` or by unwinding, would pass over
//! destructors of code that expects no such thing. Zeroes let it finish; what it made of them is thrown away.

#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]
mod signal;

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
)))]
mod signal {
    //! Where there is no guard: nothing is ever mapped.

    pub(super) fn install() -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub(super) fn is_in_place() -> bool {
        false
    }
}

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::table::Slot;

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Lets this process map the files of its stores: installs a handler of the signal `SIGBUS`, which a page that cannot
/// be read raises. Call it once, early in `main`; a second call changes nothing.
///
/// A store reads messages with `pread`, into memory. That is right everywhere, and is what happens unless this was
/// called. With the guard, messages are handed out where the files are mapped, without a copy, and a message that was
/// verified once is not read again.
///
/// # What happens to a page that cannot be read
/// A disk that fails, or another program that cuts a file, makes the read of a mapped page a `SIGBUS`, which ends a
/// process that has no handler. This one puts a page of zeroes in the page's place and counts that, so that what was
/// made of the zeroes is thrown away: the file is not mapped any more, and read with `pread`, which gives the disk's
/// own error. Reads of a store never take the zeroes for mail. [`io::faults`](crate::io::faults) counts such pages.
///
/// What was handed out *earlier* is another matter: a slice of a mapped message may turn to zeroes while its holder
/// looks at it. Who must be sure asks [`still_good`] after use, of the same slice.
///
/// # What it does to the process
/// * The handler is for all threads, and stays. It runs on the alternate stack where the thread has one, as Rust's
///   threads do.
/// * A `SIGBUS` that is not about a mapping of ours goes to the handler that was there before, with the mask that it
///   asked for. Where there was none the process ends as it would have without us, at the same instruction. Rust's own
///   handler, which reports stack overflows, takes itself out of service when it does not know a signal; where that was
///   sent by `kill`, ours is put back.
/// * Whoever installs a handler later must pass on to this one what is not theirs. As long as ours is not the one in
///   place, no further file is mapped.
/// * A thread that blocks `SIGBUS` must not read mapped mail: the kernel ends the process for a fault whose signal is
///   blocked, and no handler can help.
/// * A child made by `fork` keeps it; a program started by `exec` does not.
/// * A system call that is given a slice of a failed page, such as `write`, returns `EFAULT`; that is no signal.
///
/// # Errors
/// `Unsupported` where there is no guard: it exists for Linux on `x86_64`, `aarch64` and `riscv64`. `ResourceBusy` when
/// the guard was installed before and another handler has taken its place since. Either may be ignored: nothing is mapped
/// then, or nothing more.
///
/// # Cost
/// A system call when it is installed, and one for each file that is mapped. A page that cannot be read takes some ten
/// microseconds.
///
/// # Examples
/// ```
/// // Where there is no guard the store works all the same.
/// let _ = mailkeep::install_guard();
/// ```
pub fn install_guard() -> io::Result<()> {
    let installed = signal::install();
    INSTALLED.fetch_or(installed.is_ok(), Ordering::Release);
    installed
}

/// Whether a slice of a message that was handed out is still what it was, as far as that can be told without reading
/// the disk: false once any page of the file under it could not be read, also where the slice is not touched by that.
///
/// For a check after use, where a message was handed out mapped (see [`install_guard`]). Bytes in memory of their own
/// are always good. The slice must be held since it was handed out; any part of it serves.
///
/// # Cost
/// By the number of files that are mapped: about a nanosecond for each.
///
/// # Examples
/// ```
/// # use mailkeep::{Delivery, Options, Store};
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("mail"), Options::default())?;
/// # let inbox = store.create_account("anna@example.it")?.inbox()?;
/// # let uid = inbox.append(b"Subject: hi\n\nbody\n", Delivery::to(&inbox))?.wait()?.uid;
/// let bytes = inbox.view()?.message(uid)?.bytes()?;
/// let lines = bytes.split(|byte| *byte == b'\n').count();
/// // The number is right: the lines were there when they were counted.
/// assert!(mailkeep::still_good(&bytes));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn still_good(bytes: &[u8]) -> bool {
    Slot::find(bytes.as_ptr().addr()).is_none_or(|(slot, ..)| slot.is_good())
}

/// Whether files may be mapped, as far as that can be told without asking the system.
pub(super) fn is_installed() -> bool {
    INSTALLED.load(Ordering::Acquire)
}

/// Whether ours is the handler in place.
pub(super) fn is_in_place() -> bool {
    is_installed() && signal::is_in_place()
}
