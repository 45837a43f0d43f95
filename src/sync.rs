//! The crate's locks: those of parking_lot, and nothing else.
//!
//! With the feature `lock-order`, which is for the crate's own tests, each remembers which others are taken while it is
//! held. Two that are taken in both orders, by whichever threads at whatever times, can block each other for ever one
//! day: the process then stops and says which. DESIGN.md has the order.

#[cfg(feature = "lock-order")]
mod checked;

#[cfg(feature = "lock-order")]
pub(crate) use self::checked::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(feature = "lock-order"))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
