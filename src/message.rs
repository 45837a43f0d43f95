//! A message: its bytes, verified before they are handed out.

use std::ops::Range;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::change::{Change, Deliver};
use crate::index::Content;
use crate::log::Body;
use crate::mail::{self, Digest, Shape, Summary};
use crate::store::Store;
use crate::switch::Switch;

/// A message of a [`View`](crate::View). Its bytes never change.
///
/// Bytes are checked against their checksums before they are handed out, each time that they are read from the disk. In a
/// process with the [guard](crate::install_guard) they are handed out where the log is mapped, without a copy, and
/// checked once for each message and process; a page that cannot be read is never taken for mail, but a slice that was
/// handed out *earlier* may turn to zeroes under who holds it. Who must be sure asks
/// [`still_good`](crate::still_good) after use, or takes a [copy](Message::to_vec). Bytes stay valid as long as they are
/// held.
///
/// ```
/// # use mailkeep::{Delivery, Options, Store};
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("mail"), Options::default())?;
/// # let inbox = store.create_account("anna@example.it")?.inbox()?;
/// let uid = inbox.append(b"Subject: hi\n\nbody\n", Delivery::to(&inbox))?.wait()?.uid;
/// let message = inbox.view()?.message(uid)?;
/// assert_eq!(&message.header()?[..], b"Subject: hi\n\n");
/// assert_eq!(&message.range(13..17)?[..], b"body");
/// assert_eq!(message.to_vec()?, b"Subject: hi\n\nbody\n");
/// assert_eq!(&message.crlf()?[..], b"Subject: hi\r\n\r\nbody\r\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Message {
    store: Store,
    record: u64,
    raw_len: u32,
    body: Body,
}

impl Message {
    pub(crate) fn open(store: Store, record: u64, raw_len: u32) -> Result<Self> {
        let body = store.inner.log.body(record)?;
        Ok(Self {
            store,
            record,
            raw_len,
            body,
        })
    }

    /// Length in bytes as it was given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw_len as usize
    }

    /// Whether it is empty: never, as empty messages are refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes as they were given.
    ///
    /// # Errors
    /// [`Error::Damaged`] when they are not what was written, [`Error::Io`].
    ///
    /// # Cost
    /// One checksum over the bytes, and reading them into memory. With the [guard](crate::install_guard) no copy; once
    /// verified, a lookup and a look at each page.
    pub fn bytes(&self) -> Result<Bytes> {
        self.body.bytes()
    }

    /// A copy of all bytes, right when it was made: it never changes, whatever the disk does.
    ///
    /// # Errors
    /// As [`bytes`](Message::bytes).
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        self.body.read(|bytes| bytes.to_vec())
    }

    /// Some of the bytes, by offset in the message as given; cut to what there is. Only the 64 KiB chunks that the
    /// range touches are checked.
    ///
    /// # Errors
    /// As [`bytes`](Message::bytes).
    pub fn range(&self, range: Range<usize>) -> Result<Bytes> {
        self.body.range(range)
    }

    /// The header, with the empty line that ends it (where there is one within the first 64 KiB).
    ///
    /// # Errors
    /// As [`bytes`](Message::bytes).
    pub fn header(&self) -> Result<Bytes> {
        self.range(0..self.summary()?.header_len as usize)
    }

    /// All bytes with every line end as CRLF. Without a further copy where they are so already.
    ///
    /// # Errors
    /// As [`bytes`](Message::bytes).
    pub fn crlf(&self) -> Result<Bytes> {
        self.body.read(mail::crlf)
    }

    /// Reads and checks all bytes again, and holds them against the digest of what was delivered. For a check after
    /// use: bytes handed out earlier can change under a failing disk.
    ///
    /// # Errors
    /// As [`bytes`](Message::bytes).
    pub fn check(&self) -> Result<()> {
        self.read_content().map(drop)
    }

    /// As [`check`](Message::check); what the bytes come to in a receipt.
    pub(crate) fn read_content(&self) -> Result<Content> {
        let content = self.body.recheck(|bytes| Content {
            digest: Digest::of(bytes),
            wire_size: Shape::of(bytes).wire_size(),
        })?;
        if content.digest == self.delivered()?.digest || !Switch::MessageDigest.on() {
            Ok(content)
        } else {
            Err(self.body.wrong_digest())
        }
    }

    /// BLAKE3 of the bytes as given, as it was computed at delivery.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] where its record cannot be read.
    pub fn digest(&self) -> Result<Digest> {
        Ok(self.delivered()?.digest)
    }

    /// Line ends and sizes.
    ///
    /// # Errors
    /// As [`digest`](Message::digest).
    pub fn shape(&self) -> Result<Shape> {
        Ok(self.delivered()?.shape)
    }

    /// What was read from its header at delivery: where the usual fields lie, the date, the Message-ID's hash.
    ///
    /// # Errors
    /// As [`digest`](Message::digest).
    pub fn summary(&self) -> Result<Summary> {
        Ok(self.delivered()?.summary)
    }

    fn delivered(&self) -> Result<Box<Deliver>> {
        match self.store.inner.log.record(self.record)?.1 {
            Change::Deliver(deliver) => Ok(deliver),
            Change::Assign(assign) => Ok(Box::new(assign.deliver)),
            _ => Err(Error::fault("the log", 0, crate::format::Fault::Lost)),
        }
    }
}
