//! An allocator that ends the process where one allocation is larger than any input is worth: a length that was read
//! from the bytes and believed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of the input that is tried, where inputs have numbers.
pub static AT: AtomicU64 = AtomicU64::new(0);

/// No input is longer than 1 MiB, and no honest code needs so much more.
const MOST: usize = 64 << 20;

struct Bounded;

#[global_allocator]
static BOUNDED: Bounded = Bounded;

fn check(len: usize) {
    if len > MOST {
        let at = AT.load(Ordering::Relaxed);
        eprintln!("an allocation of {len} bytes, input {at}");
        std::process::abort();
    }
}

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        check(len);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(place, layout, len) }
    }
}
