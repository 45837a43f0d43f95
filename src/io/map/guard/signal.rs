//! The handler itself, and how it comes into place.
#![allow(
    unsafe_code,
    reason = "a signal handler can be installed in no other way"
)]

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use libc::{c_int, c_long, c_void, siginfo_t};
use parking_lot::Mutex;

use super::Slot;

/// The handler that was in place before ours, and its flags.
static BEFORE: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static BEFORE_FLAGS: AtomicI32 = AtomicI32::new(0);
/// Bytes of a page; 0 before the handler is in place.
static PAGE: AtomicUsize = AtomicUsize::new(0);
/// Held while the handler is put in place.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Puts the handler in place, once.
pub(super) fn install() -> io::Result<()> {
    let _one_at_a_time = INSTALLING.lock();
    let current = current()?;
    if current.sa_sigaction == ours() {
        return Ok(());
    }
    if PAGE.load(Ordering::Acquire) != 0 {
        if matches!(current.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
            return put_in_place();
        }
        // It may pass signals on to ours: to be called by it and to call it would never end.
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another handler of SIGBUS has taken the guard's place",
        ));
    }
    // SAFETY: a query of a number, without a pointer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(page)
        .ok()
        .filter(|len| len.is_power_of_two());
    let page = page.ok_or(io::ErrorKind::Unsupported)?;
    // All of this before the handler is in place, as it reads it.
    BEFORE.store(current.sa_sigaction, Ordering::SeqCst);
    BEFORE_FLAGS.store(current.sa_flags, Ordering::SeqCst);
    PAGE.store(page, Ordering::SeqCst);
    put_in_place().inspect_err(|_| PAGE.store(0, Ordering::SeqCst))
}

/// Whether ours is the handler in place.
pub(super) fn is_in_place() -> bool {
    current().is_ok_and(|current| current.sa_sigaction == ours())
}

fn ours() -> usize {
    on_fault as *const () as usize
}

/// What is in place now.
fn current() -> io::Result<libc::sigaction> {
    let mut current = empty();
    // SAFETY: `sigaction` reads nothing through a null pointer, and writes the one value that `current` is.
    match unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut current) } {
        0 => Ok(current),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `SIG_DFL`, no flags, an empty mask.
fn empty() -> libc::sigaction {
    // SAFETY: a plain structure of numbers and an optional function pointer, of which all zeroes are a value.
    unsafe { std::mem::zeroed() }
}

/// Installs the handler, with the mask of the one before it: what that one is called with is what it asked for.
fn put_in_place() -> io::Result<()> {
    let mut action = current()?;
    action.sa_sigaction = ours();
    let restart = BEFORE_FLAGS.load(Ordering::SeqCst) & libc::SA_RESTART;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | restart;
    replace(&action)
}

fn replace(action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: `action` is whole, and its handler, where it is ours, has the signature that `SA_SIGINFO` asks for and
    // stays for as long as the process does.
    match unsafe { libc::sigaction(libc::SIGBUS, action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The handler. Everything it calls is safe to call from a signal: atomics, and system calls that take no lock.
extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: where this thread's `errno` is; valid for as long as the thread is.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above. The code that was interrupted may be about to read it.
    let saved = unsafe { *errno };
    // SAFETY: the kernel gives a handler with `SA_SIGINFO` a valid `info`.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // A code above 0 says that the kernel met a fault; others, that some process sent the signal, and no address.
    if code <= 0 || !contain(address) {
        pass_on(signal, info, context, code);
    }
    // SAFETY: as above.
    unsafe { *errno = saved };
}

/// Replaces the page by zeroes, if it is one of ours. The code that met it goes on, and reads them.
fn contain(address: usize) -> bool {
    let Some((slot, start, end)) = Slot::find(address) else {
        return false;
    };
    let page = PAGE.load(Ordering::Relaxed);
    let down = |address: usize| address & !page.wrapping_sub(1);
    slot.poison();
    if slot.may_patch() && put_zeroes(down(address), page) {
        return true;
    }
    let len = down(end.wrapping_sub(start).wrapping_add(page).wrapping_sub(1));
    let replaced = put_zeroes(start, len);
    if replaced {
        slot.give_back();
    }
    replaced
}

/// Maps zeroes over a range inside one of our mappings.
fn put_zeroes(start: usize, len: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // Nothing but `syscall` and its numbers: libc's own `mmap` may take a lock.
    // SAFETY: the range is whole pages inside a mapping that the table has, so it is ours, and it is not unmapped
    // meanwhile: the thread that was interrupted holds a slice of it (see `table.rs`). What was there is a page of a
    // file that may only be read, and so is what comes.
    let mapped = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            start,
            len,
            c_long::from(libc::PROT_READ),
            c_long::from(flags),
            c_long::from(-1),
            c_long::from(0),
        )
    };
    mapped != -1
}

/// Gives the signal to whoever had it before.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void, code: c_int) {
    let flags = BEFORE_FLAGS.load(Ordering::SeqCst);
    let before = if flags & libc::SA_RESETHAND == 0 {
        BEFORE.load(Ordering::SeqCst)
    } else {
        BEFORE.swap(libc::SIG_DFL, Ordering::SeqCst)
    };
    match before {
        // The kernel does not ignore a fault either: the instruction would be tried for ever.
        libc::SIG_IGN if code <= 0 => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // A fault is met again when this returns, and ends the process there.
            let _ = replace(&empty());
            if code <= 0 {
                // SAFETY: a signal to this thread; it arrives when the handler returns.
                unsafe { libc::raise(signal) };
            }
        }
        handler => {
            if flags & libc::SA_SIGINFO == 0 {
                // SAFETY: the address was a handler without `SA_SIGINFO` in a structure that the kernel gave us.
                let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
                handler(signal);
            } else {
                type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                // SAFETY: as above, with `SA_SIGINFO`.
                let handler: Handler = unsafe { std::mem::transmute(handler) };
                handler(signal, info, context);
            }
            if code <= 0 {
                take_back();
            }
        }
    }
}

/// Puts ours back where the handler before it, called for a signal that was sent, has set the signal to its default:
/// Rust's does that with what it does not know, and the next page that cannot be read would end the process. Not where
/// it has raised the signal again, to end the process.
fn take_back() {
    if !current().is_ok_and(|current| current.sa_sigaction == libc::SIG_DFL) {
        return;
    }
    // SAFETY: a plain set of bits, of which all zeroes are a value.
    let mut pending: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both write or read the one value that `pending` is.
    let raised = unsafe {
        libc::sigpending(&raw mut pending) == 0
            && libc::sigismember(&raw const pending, libc::SIGBUS) == 1
    };
    if !raised {
        let _ = put_in_place();
    }
}
