//! What the guard does with the signal: who else gets it, and when the process ends as it would without us.
#![allow(unsafe_code, reason = "handlers and masks of signals")]

use std::fs::File;
use std::io::ErrorKind;

use libc::{c_int, c_void, siginfo_t};
use mailkeep::install_guard;
use memmap2::Mmap;

use crate::files::{PAGE, Volume, filled};
use crate::process::{alone, dies, survives};

/// Touches a page that is not there any more, of a mapping that the guard does not know.
fn foreign_fault() {
    let file: File = filled(2 * PAGE);
    // SAFETY: read only here; that it is cut is the point.
    let map = unsafe { Mmap::map(&file) }.unwrap();
    file.set_len(0).unwrap();
    std::hint::black_box(map[PAGE]);
}

/// Touches such a page of a mapping that the guard knows.
fn own_fault() {
    let volume = Volume::new();
    let held = volume.cut_under(2 * PAGE, 0);
    assert!(held.is_mapped() && held.is_good());
    assert_eq!(held[PAGE], 0, "a page of zeroes");
    assert!(!held.is_good());
}

fn handle(handler: usize, flags: c_int) {
    // SAFETY: all zeroes are a value of this structure of numbers; the handlers below have the signature that their
    // flags say.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()),
            0
        );
    }
}

fn handler() -> usize {
    // SAFETY: a query; all zeroes are a value.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut action);
        action.sa_sigaction
    }
}

fn raise() {
    // SAFETY: a signal to this thread.
    assert_eq!(unsafe { libc::raise(libc::SIGBUS) }, 0);
}

extern "C" fn exit_42(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: called by the guard with what the kernel gave it.
    let code = unsafe { (*info).si_code };
    // SAFETY: ends the process, from a signal handler too.
    unsafe { libc::_exit(if code > 0 { 42 } else { 44 }) };
}

extern "C" fn exit_43(_: c_int) {
    // SAFETY: ends the process, from a signal handler too.
    unsafe { libc::_exit(43) };
}

extern "C" fn go_on(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}

extern "C" fn default_and_raise(signal: c_int) {
    // SAFETY: what handlers of crashes do: the signal arrives when this returns, and ends the process.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Goal: a page of ours that is gone is zeroes, and is told.
#[test]
fn a_page_that_is_gone_is_zeroes_and_is_told() {
    survives("signals::a_page_that_is_gone_is_zeroes_and_is_told", || {
        install_guard().unwrap();
        install_guard().unwrap();
        own_fault();
        assert_eq!(mailkeep::io::faults(), 1);
    });
}

/// Goal: the handler before ours gets what is not ours, with all that it asked for, and nothing that is.
#[test]
fn an_earlier_handler_gets_what_is_not_ours() {
    let name = "signals::an_earlier_handler_gets_what_is_not_ours";
    let status = alone(name, || {
        handle(exit_42 as *const () as usize, libc::SA_SIGINFO);
        install_guard().unwrap();
        own_fault();
        foreign_fault();
    });
    assert_eq!(status.code(), Some(42), "{status}");
}

/// Goal: the same for one that takes the signal's number only.
#[test]
fn an_earlier_plain_handler_gets_what_is_not_ours() {
    let name = "signals::an_earlier_plain_handler_gets_what_is_not_ours";
    let status = alone(name, || {
        handle(exit_43 as *const () as usize, 0);
        install_guard().unwrap();
        own_fault();
        foreign_fault();
    });
    assert_eq!(status.code(), Some(43), "{status}");
}

/// Goal: a signal that somebody sent has no address of ours, whatever lies in its place.
#[test]
fn a_signal_that_was_sent_is_passed_on() {
    let status = alone("signals::a_signal_that_was_sent_is_passed_on", || {
        handle(exit_42 as *const () as usize, libc::SA_SIGINFO);
        install_guard().unwrap();
        raise();
    });
    assert_eq!(status.code(), Some(44), "{status}");
}

/// Goal: without a handler before ours, what is not ours ends the process as without us.
#[test]
fn a_fault_that_is_not_ours_ends_the_process() {
    dies("signals::a_fault_that_is_not_ours_ends_the_process", || {
        handle(libc::SIG_DFL, 0);
        install_guard().unwrap();
        own_fault();
        foreign_fault();
    });
}

/// Goal: the same under Rust's own handler, which is in place where nobody has changed that.
#[test]
fn a_fault_that_is_not_ours_ends_the_process_under_rusts_handler() {
    dies(
        "signals::a_fault_that_is_not_ours_ends_the_process_under_rusts_handler",
        || {
            assert!(handler() > 1, "Rust installs one");
            install_guard().unwrap();
            own_fault();
            foreign_fault();
        },
    );
}

/// Goal: a fault cannot be ignored: it would be met for ever.
#[test]
fn an_ignored_fault_ends_the_process() {
    dies("signals::an_ignored_fault_ends_the_process", || {
        handle(libc::SIG_IGN, 0);
        install_guard().unwrap();
        raise();
        own_fault();
        foreign_fault();
    });
}

/// Goal: a sent signal ends a process that has no handler for it.
#[test]
fn a_sent_signal_ends_a_process_without_a_handler() {
    dies(
        "signals::a_sent_signal_ends_a_process_without_a_handler",
        || {
            handle(libc::SIG_DFL, 0);
            install_guard().unwrap();
            raise();
        },
    );
}

/// Goal: Rust's handler sets the signal to its default when it meets one that was sent; the guard stays all the same.
#[test]
fn the_guard_outlives_signals_that_were_sent() {
    survives("signals::the_guard_outlives_signals_that_were_sent", || {
        install_guard().unwrap();
        for _ in 0..3 {
            raise();
            own_fault();
        }
    });
}

/// Goal: a handler that ends the process by raising the signal again does.
#[test]
fn a_handler_that_raises_again_ends_the_process() {
    dies(
        "signals::a_handler_that_raises_again_ends_the_process",
        || {
            handle(default_and_raise as *const () as usize, 0);
            install_guard().unwrap();
            raise();
        },
    );
}

/// Goal: what the guard's documentation says of threads that block the signal: the kernel ends the process.
#[test]
fn a_thread_that_blocks_the_signal_ends_the_process() {
    dies(
        "signals::a_thread_that_blocks_the_signal_ends_the_process",
        || {
            install_guard().unwrap();
            // SAFETY: all zeroes are a value; the rest sets bits of it and this thread's mask.
            unsafe {
                let mut mask: libc::sigset_t = std::mem::zeroed();
                libc::sigaddset(&raw mut mask, libc::SIGBUS);
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, std::ptr::null_mut());
            }
            own_fault();
        },
    );
}

/// Goal: as long as another handler is in place nothing more is mapped, and the guard does not call who may call it.
#[test]
fn nothing_is_mapped_while_another_handler_is_in_place() {
    survives(
        "signals::nothing_is_mapped_while_another_handler_is_in_place",
        || {
            install_guard().unwrap();
            let volume = Volume::new();
            assert!(volume.hold(PAGE).is_mapped());
            handle(go_on as *const () as usize, libc::SA_SIGINFO);
            let refused = install_guard().unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ResourceBusy, "{refused}");
            let held = volume.hold(PAGE);
            assert!(!held.is_mapped() && held.is_good());
            // Who has only taken it away may have it put back.
            handle(libc::SIG_DFL, 0);
            assert!(!volume.hold(PAGE).is_mapped());
            install_guard().unwrap();
            own_fault();
        },
    );
}

/// Goal: where the process has no room for one more part of a mapping, the whole mapping is replaced; and `errno` of the
/// code that is interrupted stays, whatever the system has said to the guard.
#[test]
fn without_room_for_parts_a_whole_mapping_is_replaced() {
    let name = "signals::without_room_for_parts_a_whole_mapping_is_replaced";
    survives(name, || {
        install_guard().unwrap();
        let volume = Volume::new();
        let held = volume.cut_under(64 * PAGE, 0);
        let sum = |from: usize| {
            let pages = held[from * PAGE..].iter().step_by(PAGE);
            pages.map(|byte| u64::from(*byte)).sum::<u64>()
        };
        // Pages of changing protection, so that none becomes part of its neighbour: until there is no room.
        let parts: Vec<*mut c_void> = (0..100_000)
            .map(|at| {
                let protection = [libc::PROT_READ, libc::PROT_NONE][at % 2];
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                // SAFETY: a new mapping that nobody looks into.
                unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) }
            })
            .take_while(|part| *part != libc::MAP_FAILED)
            .collect();
        assert!(parts.len() < 100_000, "there was room for all");
        // SAFETY: nobody looks into it.
        assert_eq!(unsafe { libc::munmap(parts[parts.len() / 2], PAGE) }, 0);
        // SAFETY: where this thread's own number is.
        unsafe { *libc::__errno_location() = 1234 };
        let sum = sum(33);
        // SAFETY: as above.
        let errno = unsafe { *libc::__errno_location() };
        assert_eq!((errno, sum), (1234, 0));
        assert_eq!(mailkeep::io::faults(), 1, "one page stood for all");
    });
}
