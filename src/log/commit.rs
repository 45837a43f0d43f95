//! The handle to a commit: wait for it, or await it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Shared;
use crate::error::{Error, Result};

/// A change that has been accepted and is on its way to the disk, with what it will return.
///
/// [`wait`](Commit::wait) blocks the thread (and may write the batch itself); `.await` does not block: the store's
/// commit thread writes. Dropping the handle does not take the change back: it will be written with the next batch,
/// or at once by the commit thread, and its outcome is not told.
///
/// Several commits can be started before the first is waited for: they share a write and a sync.
///
/// ```
/// # use mailkeep::{Delivery, Options, Store};
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("mail"), Options::default())?;
/// let anna = store.create_account("anna@example.it")?;
/// let inbox = anna.inbox()?;
/// let first = store.deliver(b"Subject: 1\r\n\r\n", [Delivery::to(&inbox)])?;
/// let second = store.deliver(b"Subject: 2\r\n\r\n", [Delivery::to(&inbox)])?;
/// assert_eq!(first.wait()?.remove(0)?.uid.get(), 1);
/// assert_eq!(second.wait()?.remove(0)?.uid.get(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a commit is durable only once it was waited for"]
#[derive(Debug)]
pub struct Commit<T> {
    shared: Arc<Shared>,
    batch: u64,
    value: Option<T>,
}

impl<T> Commit<T> {
    pub(super) fn new(shared: Arc<Shared>, batch: u64, value: T) -> Self {
        Self {
            shared,
            batch,
            value: Some(value),
        }
    }

    /// The same commit with another value.
    pub(crate) fn try_map<U>(mut self, map: impl FnOnce(T) -> Result<U>) -> Result<Commit<U>> {
        let value = self.value.take().ok_or(Error::Closed)?;
        Ok(Commit::new(
            Arc::clone(&self.shared),
            self.batch,
            map(value)?,
        ))
    }

    /// Blocks until the change is as durable as was asked.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`], [`Error::Stopped`] or [`Error::Closed`]: the change was not made, as a
    /// whole. A change that failed may still be found whole after a crash (it was never acknowledged), never in part.
    ///
    /// # Durability
    /// As the call or the options said: see [`Durability`](crate::Durability).
    ///
    /// # Cost
    /// One write and one sync, shared by all that commit at the same time.
    pub fn wait(mut self) -> Result<T> {
        self.shared.wait(self.batch)?;
        self.value.take().ok_or(Error::Closed)
    }

    /// Whether it has ended, well or not.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shared.outcome(self.batch).is_some()
    }
}

impl<T: Unpin> Future for Commit<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.shared.outcome(self.batch).is_none()
            && self.shared.wake_for(self.batch, context.waker())
        {
            if self.shared.ask_for_leader() {
                return Poll::Pending;
            }
            // No commit thread: awaiting is waiting.
            let _ = self.shared.wait(self.batch);
        }
        let outcome = self
            .shared
            .outcome(self.batch)
            .unwrap_or(Err(Error::Closed));
        Poll::Ready(outcome.and_then(|()| self.value.take().ok_or(Error::Closed)))
    }
}

impl<T> Drop for Commit<T> {
    fn drop(&mut self) {
        if self.value.is_some() && self.shared.outcome(self.batch).is_none() {
            self.shared.ask_for_leader();
        }
    }
}
