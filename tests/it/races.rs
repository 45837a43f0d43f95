//! What two threads, or a waker, can do to each other around a commit: each order that matters, made on purpose.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use mailkeep::io::Host;
use mailkeep::{Delivery, Error, Mailbox, Options, Store};

use super::sim::{Call, Fault, Sim, SimHost};

const TEXT: &[u8] = b"Subject: a race\r\n\r\n";

/// A host whose clock stops one thread, by name, until it is told to go on. The clock is asked after an account was
/// looked at and before its records are handed over.
#[derive(Debug)]
struct Gate {
    host: SimHost,
    armed: AtomicBool,
    reached: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
}

impl Host for Gate {
    fn now_ms(&self) -> i64 {
        let here = std::thread::current().name() == Some("stopped");
        if here && self.armed.swap(false, Ordering::SeqCst) {
            self.reached.lock().unwrap().send(()).unwrap();
            self.go.lock().unwrap().recv().unwrap();
        }
        self.host.now_ms()
    }
    fn unique(&self) -> [u8; 16] {
        self.host.unique()
    }
    fn identity(&self) -> String {
        self.host.identity()
    }
}

fn uids(inbox: &Mailbox) -> Vec<u32> {
    inbox
        .view()
        .unwrap()
        .iter()
        .map(|row| row.uid.get())
        .collect()
}

/// Goal: what was planned on a commit that then fails is planned again: acknowledged, it is shown.
#[test]
fn a_plan_on_a_commit_that_fails_is_made_again() {
    let sim = Sim::new();
    let (reached, stopped) = channel();
    let (go, wait) = channel();
    let gate = Arc::new(Gate {
        host: SimHost::new(1_700_000_000_000, 1),
        armed: AtomicBool::new(false),
        reached: Mutex::new(reached),
        go: Mutex::new(wait),
    });
    let options = || Options::new().background(false).host(gate.clone());
    let store = Store::open_on(sim.storage(), options()).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let first = store.deliver(TEXT, [Delivery::to(&inbox)]).unwrap();

    gate.armed.store(true, Ordering::SeqCst);
    let second = {
        let (store, inbox) = (store.clone(), inbox.clone());
        let run = move || store.deliver(TEXT, [Delivery::to(&inbox)])?.wait();
        std::thread::Builder::new()
            .name("stopped".into())
            .spawn(run)
            .unwrap()
    };
    stopped.recv().unwrap();
    sim.set_fault(Some(Fault {
        error: || std::io::Error::from_raw_os_error(28),
        ..Fault::from(&[Call::Write], 0)
    }));
    let failed = first.wait();
    assert!(matches!(failed, Err(Error::NoSpace { .. })), "{failed:?}");
    sim.set_fault(None);
    go.send(()).unwrap();
    let kept = second.join().unwrap().unwrap().remove(0).unwrap();

    assert_eq!(uids(&inbox), [kept.uid.get()], "acknowledged and shown");
    store.close().unwrap();
    let again = Store::open_on(sim.storage(), options()).unwrap();
    let inbox = again.account("anna").unwrap().inbox().unwrap();
    assert_eq!(uids(&inbox), [kept.uid.get()], "and after a reopening");
}

/// A task that its waker polls at once, as small executors do, and that delivers again when the first commit is done.
struct Inline {
    task: Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>,
    done: Mutex<Sender<()>>,
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let polled = {
            let mut task = self.task.lock().unwrap();
            task.as_mut().poll(&mut Context::from_waker(&waker))
        };
        if polled == Poll::Ready(()) {
            self.done.lock().unwrap().send(()).unwrap();
        }
    }
}

/// Goal: a waker may call the store: nobody holds a lock while it is woken.
#[test]
fn a_waker_may_call_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("mail"), Options::new()).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let task = {
        let (store, inbox) = (store.clone(), inbox.clone());
        async move {
            for _ in 0..3 {
                let commit = store.deliver(TEXT, [Delivery::to(&inbox)]).unwrap();
                commit.await.unwrap();
            }
        }
    };
    let (done, finished) = channel();
    let inline = Arc::new(Inline {
        task: Mutex::new(Box::pin(task)),
        done: Mutex::new(done),
    });
    Wake::wake(inline);
    let waited = finished.recv_timeout(Duration::from_secs(20));
    waited.expect("the commit thread hangs in a waker");
    assert_eq!(uids(&inbox), [1, 2, 3]);
}

/// Goal: a large message that no mailbox takes leaves nothing behind.
#[test]
fn a_large_message_that_nobody_takes_leaves_no_file() {
    let sim = Sim::new();
    let options = Options::new().background(false);
    let store = Store::open_on(sim.storage(), options).unwrap();
    let anna = store.create_account("anna").unwrap();
    let gone = anna.create_mailbox("gone").unwrap();
    anna.delete_mailbox("gone").unwrap();
    let before: Vec<String> = sim.files().into_keys().collect();
    let large = vec![b'x'; 2 << 20];
    let results = store.deliver(&large, [Delivery::to(&gone)]).unwrap();
    let results = results.wait().unwrap();
    assert!(matches!(results[0], Err(Error::NoSuchMailbox { .. })));
    assert_eq!(sim.files().into_keys().collect::<Vec<_>>(), before);
    let mut transaction = anna.transaction();
    let inbox = anna.inbox().unwrap();
    transaction.append(&large, Delivery::to(&inbox)).unwrap();
    transaction.delete_mailbox("gone").unwrap();
    assert!(transaction.commit().is_err());
    assert_eq!(sim.files().into_keys().collect::<Vec<_>>(), before);
}

/// Goal: whoever closes a store has a store that is closed, also when others close it at the same time: nothing is taken from
/// a handle that is left, and it can be opened again.
#[test]
fn all_who_close_have_it_closed() {
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mail");
        let store = Store::open(&path, Options::new()).unwrap();
        let inbox = store.create_account("anna").unwrap().inbox().unwrap();
        let seeded = store.deliver(TEXT, [Delivery::to(&inbox)]).unwrap();
        seeded.wait().unwrap();
        let one_by_one = Mutex::new(());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (store, path, one_by_one) = (store.clone(), &path, &one_by_one);
                scope.spawn(move || {
                    let left = store.clone();
                    store.close().unwrap();
                    // An opening waits for a moment for a lock that is held: it alone would not tell.
                    let refused = left.sync();
                    assert!(
                        matches!(refused, Err(Error::Closed)),
                        "{round}: {refused:?}"
                    );
                    let _turn = one_by_one.lock().unwrap();
                    Store::open(path, Options::new()).unwrap_or_else(|e| panic!("{round}: {e}"));
                });
            }
        });
    }
}

/// Goal: a waker may close the store while another thread does.
#[test]
fn a_waker_may_close_the_store_while_another_closes_it() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("mail"), Options::new()).unwrap();
        let inbox = store.create_account("anna").unwrap().inbox().unwrap();
        let (woken, wait) = channel();
        let task = {
            let (store, inbox) = (store.clone(), inbox.clone());
            async move {
                let commit = store.deliver(TEXT, [Delivery::to(&inbox)]).unwrap();
                commit.await.unwrap();
                woken.send(()).unwrap();
                // Long enough for the other to be at it.
                std::thread::sleep(Duration::from_millis(5));
                store.close().unwrap();
            }
        };
        let (done, finished) = channel();
        let inline = Arc::new(Inline {
            task: Mutex::new(Box::pin(task)),
            done: Mutex::new(done),
        });
        Wake::wake(inline);
        wait.recv().unwrap();
        let (closed, other) = channel();
        std::thread::spawn(move || closed.send(store.close()));
        let limit = Duration::from_secs(20);
        finished.recv_timeout(limit).expect("the waker hangs");
        other.recv_timeout(limit).expect("closing hangs").unwrap();
    }
}
