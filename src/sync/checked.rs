//! Locks that find orders in which they could block each other.
//!
//! A lock's *class* is where it was made and what is in it: all cells of accounts are one class. Of one class several may
//! be held at once, in an order of their own (cells: of their ids), which is not checked here.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::time::Duration;

/// What is in a lock, and the file and line where it was made.
type Class = (&'static str, &'static str, u32);

/// Which classes were taken while one was held, by any thread so far.
#[derive(Debug, Default)]
struct Order(BTreeMap<Class, BTreeSet<Class>>);

static ORDER: parking_lot::Mutex<Order> = parking_lot::Mutex::new(Order(BTreeMap::new()));

thread_local! {
    static HELD: RefCell<Vec<Class>> = const { RefCell::new(Vec::new()) };
}

impl Order {
    /// Notes that `taken` was taken by who holds `held`; the way from `taken` back to one of these, if there is one.
    fn note(&mut self, held: &[Class], taken: Class) -> Option<Vec<Class>> {
        for holder in held.iter().filter(|holder| **holder != taken) {
            let known = self.0.entry(*holder).or_default();
            if known.insert(taken)
                && let Some(way) = self.way(taken, *holder, &mut BTreeSet::new())
            {
                return Some(way);
            }
        }
        None
    }

    fn way(&self, from: Class, to: Class, seen: &mut BTreeSet<Class>) -> Option<Vec<Class>> {
        if from == to {
            return Some(vec![to]);
        }
        if !seen.insert(from) {
            return None;
        }
        let next = self.0.get(&from)?;
        let mut way = next.iter().find_map(|next| self.way(*next, to, seen))?;
        way.insert(0, from);
        Some(way)
    }
}

/// One lock that this thread holds.
#[derive(Debug)]
struct Held(Class);

impl Held {
    /// Before the thread waits for the lock.
    fn wait_for(class: Class) -> Self {
        let held = HELD.with_borrow(Vec::clone);
        if !held.is_empty()
            && let Some(way) = ORDER.lock().note(&held, class)
        {
            // Not a panic: the store's own threads would end, and nobody would hear of it.
            eprintln!(
                "locks in both orders: {class:?} is taken, held are {held:?}, before: {way:?}"
            );
            std::process::abort();
        }
        Self::take(class)
    }

    /// Who does not wait is in nobody's way.
    fn take(class: Class) -> Self {
        HELD.with_borrow_mut(|held| held.push(class));
        Self(class)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A thread that ends may drop locks after what it knows of them.
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            if let Some(at) = held.iter().rposition(|class| *class == self.0) {
                held.remove(at);
            }
        });
    }
}

#[track_caller]
fn class_of<T>() -> Class {
    let at = Location::caller();
    (std::any::type_name::<T>(), at.file(), at.line())
}

/// As parking_lot's.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    lock: parking_lot::Mutex<T>,
    class: Class,
}

/// As parking_lot's.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    guard: parking_lot::MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Mutex<T> {
    #[track_caller]
    pub(crate) fn new(value: T) -> Self {
        Self {
            lock: parking_lot::Mutex::new(value),
            class: class_of::<T>(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let held = Held::wait_for(self.class);
        MutexGuard {
            guard: self.lock.lock(),
            _held: held,
        }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = self.lock.try_lock()?;
        let _held = Held::take(self.class);
        Some(MutexGuard { guard, _held })
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// As parking_lot's. Whoever waits is still said to hold the lock: it takes no other meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.0.wait(&mut guard.guard);
    }

    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        most: Duration,
    ) -> parking_lot::WaitTimeoutResult {
        self.0.wait_for(&mut guard.guard, most)
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// As parking_lot's.
#[derive(Debug)]
pub(crate) struct RwLock<T> {
    lock: parking_lot::RwLock<T>,
    class: Class,
}

/// A guard of either kind.
#[derive(Debug)]
pub(crate) struct RwGuard<G> {
    guard: G,
    _held: Held,
}

impl<T> RwLock<T> {
    #[track_caller]
    pub(crate) fn new(value: T) -> Self {
        Self {
            lock: parking_lot::RwLock::new(value),
            class: class_of::<T>(),
        }
    }

    pub(crate) fn read(&self) -> RwGuard<parking_lot::RwLockReadGuard<'_, T>> {
        let _held = Held::wait_for(self.class);
        let guard = self.lock.read();
        RwGuard { guard, _held }
    }

    pub(crate) fn write(&self) -> RwGuard<parking_lot::RwLockWriteGuard<'_, T>> {
        let _held = Held::wait_for(self.class);
        let guard = self.lock.write();
        RwGuard { guard, _held }
    }
}

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<G: Deref> Deref for RwGuard<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for RwGuard<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::{HELD, Mutex, Order, RwLock};

    /// Goal: an order and its reverse are found, also around a third lock, and also when nobody ever blocked.
    #[test]
    fn both_orders_are_found() {
        let [a, b, c] = ["a", "b", "c"].map(|name| (name, "", 0));
        let mut order = Order::default();
        assert_eq!(order.note(&[], a), None);
        assert_eq!(order.note(&[a], b), None);
        assert_eq!(order.note(&[a, b], c), None);
        assert_eq!(order.note(&[a], c), None);
        assert_eq!(order.note(&[b], b), None, "of one class");
        assert_eq!(order.note(&[c], a), Some(vec![a, b, c]));
        assert_eq!(order.note(&[b], a), Some(vec![a, b]));
    }

    /// Goal: what is held is known while it is held, in whatever order it is given back.
    #[test]
    fn what_is_held_is_known() {
        let (one, two) = (Mutex::new(1_u8), RwLock::new(2_u16));
        let held = || HELD.with_borrow(Vec::len);
        let first = one.lock();
        let second = two.read();
        assert!(one.try_lock().is_none());
        assert_eq!((held(), *first, *second), (2, 1, 2));
        drop(first);
        assert_eq!(held(), 1);
        drop(second);
        *one.lock() = 3;
        assert_eq!((held(), *one.lock()), (0, 3));
    }
}
