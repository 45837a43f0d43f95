//! What a store holds, and how that differs from what it held before.

use std::collections::BTreeMap;
use std::path::Path;

use mailkeep::{Digest, Options, Store};

use super::Result;

/// An entry: account id, mailbox id, UID.
pub(crate) type Key = (String, u32, u32);

/// What a store shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// The digest of each message, or why it is not served.
    pub(crate) messages: BTreeMap<Key, Result<Digest, String>>,
    /// Why accounts, or mailboxes of them, cannot be listed.
    pub(crate) refused: Vec<String>,
    /// Exact receipts by account, where nothing keeps one from being made.
    pub(crate) receipts: BTreeMap<String, Digest>,
}

impl Content {
    /// Reads all messages, every byte.
    pub(crate) fn of(store: &Store) -> Self {
        let mut content = Self::default();
        let mut after: Option<String> = None;
        loop {
            let names = match store.accounts(after.as_deref(), 256) {
                Ok(names) => names,
                Err(error) => {
                    content
                        .refused
                        .push(format!("the list of accounts: {error}"));
                    return content;
                }
            };
            let Some(last) = names.last() else { break };
            after = Some(last.clone());
            for name in names {
                if let Err(error) = content.add(store, &name) {
                    content.refused.push(format!("{name}: {error}"));
                }
            }
        }
        content
    }

    fn add(&mut self, store: &Store, name: &str) -> mailkeep::Result<()> {
        let account = store.account(name)?;
        let id = account.id().to_string();
        for info in account.mailboxes()? {
            if info.noselect {
                continue;
            }
            let view = account.mailbox(&info.name)?.view()?;
            for row in view.iter() {
                let bytes = view.message(row.uid).and_then(|message| message.bytes());
                let digest = bytes.map(|bytes| Digest::of(&bytes));
                let key = (id.clone(), info.id.get(), row.uid.get());
                let told = digest.map_err(|error| error.to_string());
                self.messages.insert(key, told);
            }
        }
        let receipt = account.receipt();
        self.receipts
            .extend(receipt.ok().map(|receipt| (id, receipt.exact)));
        Ok(())
    }
}

/// How a copy that was harmed compares with what it was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    /// Served, byte for byte.
    pub(crate) same: u64,
    /// Not served, with an error that says why.
    pub(crate) refused: u64,
    /// Gone from their mailboxes.
    pub(crate) gone: u64,
    /// Served with other bytes, or under the UID of another message.
    pub(crate) wrong: Vec<Key>,
    /// Accounts that cannot be listed, or read whole.
    pub(crate) accounts: Vec<String>,
    /// Whether each account's receipt is what it was.
    pub(crate) receipts_equal: bool,
}

impl Comparison {
    pub(crate) fn new(before: &Content, after: &Content) -> Self {
        let mut all = Self {
            accounts: after.refused.clone(),
            receipts_equal: before.receipts == after.receipts,
            ..Self::default()
        };
        for (key, digest) in &before.messages {
            match (digest, after.messages.get(key)) {
                // Not served before either.
                (Err(_), _) => {}
                (Ok(digest), Some(Ok(now))) if digest == now => all.same += 1,
                (Ok(_), Some(Ok(_))) => all.wrong.push(key.clone()),
                (Ok(_), Some(Err(_))) => all.refused += 1,
                (Ok(_), None) => all.gone += 1,
            }
        }
        all
    }

    /// Whether nothing is missing.
    pub(crate) fn is_equal(&self) -> bool {
        self.refused == 0 && self.gone == 0 && self.wrong.is_empty() && self.receipts_equal
    }
}

/// Options of all openings.
pub(crate) fn options() -> Options {
    Options::new().create(false)
}

/// What a store holds that nothing was done to.
pub(crate) fn read(path: &Path) -> Result<Content> {
    let store = Store::open(path, options())?;
    let content = Content::of(&store);
    store.close()?;
    Ok(content)
}
