//! Witnesses: how far a store certainly got, kept elsewhere, so that an older copy put back in its place is found out.

use std::fmt;
use std::str::FromStr;

use crate::format::StoreId;

/// One durable batch of a store: proof, to whoever keeps it elsewhere, that the log got so far.
///
/// A store that was put back as a whole to an earlier state is sound in every byte: from inside nothing shows that newer
/// mail was acknowledged, and UIDs would be given again. A witness kept on another volume shows it:
/// [`Options::witness`](crate::Options::witness) refuses to open a store whose log does not have exactly that batch.
///
/// ```
/// use mailkeep::{Delivery, Error, Options, Store, Witness};
/// # fn copy(from: &std::path::Path, to: &std::path::Path) {
/// #     std::fs::create_dir_all(to).unwrap();
/// #     for entry in std::fs::read_dir(from).unwrap() {
/// #         let entry = entry.unwrap();
/// #         let target = to.join(entry.file_name());
/// #         if entry.path().is_dir() { copy(&entry.path(), &target) } else { std::fs::copy(entry.path(), target).unwrap(); }
/// #     }
/// # }
/// # let dir = tempfile::tempdir()?;
/// # let (path, snapshot) = (dir.path().join("mail"), dir.path().join("snapshot"));
/// let store = Store::open(&path, Options::default())?;
/// let inbox = store.create_account("anna@example.it")?.inbox()?;
/// # store.clone().close()?;
/// # copy(&path, &snapshot);
/// # drop((inbox, store));
/// # let store = Store::open(&path, Options::default())?;
/// # let inbox = store.account("anna@example.it")?.inbox()?;
/// // A snapshot is taken here; then mail is acknowledged.
/// inbox.append(b"Subject: 1\n\n", Delivery::to(&inbox))?.wait()?;
/// let kept = store.witness().to_string(); // goes to another machine
/// # drop(inbox);
/// store.close()?;
///
/// let witness: Witness = kept.parse()?;
/// Store::open(&path, Options::new().witness(witness))?.close()?;
/// // The snapshot is sound, and not what was witnessed.
/// let refused = Store::open(&snapshot, Options::new().witness(witness));
/// assert!(matches!(refused, Err(Error::NotWitnessed { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Witness {
    /// The store.
    pub store: StoreId,
    /// Epoch of the batch's writer: how often the store had been opened for writing.
    pub epoch: u64,
    /// Sequence of the batch; 0 while there is none: any history of the store goes with that.
    pub batch: u64,
    /// Number that the next record gets: all below were given.
    pub next_record: u64,
    /// Head checksum of the batch. It covers that of the batch before, and so all that came before.
    pub checksum: u32,
    /// Number of the segment that the batch lies in, and its offset there: what to look at.
    pub segment: u64,
    /// See `segment`.
    pub offset: u64,
}

impl Witness {
    /// Of a store without batches.
    pub(crate) fn empty(store: StoreId) -> Self {
        Self {
            store,
            epoch: 0,
            batch: 0,
            next_record: 1,
            checksum: 0,
            segment: 0,
            offset: 0,
        }
    }

    /// What a log that shows this one instead of `expected` is.
    pub(crate) fn instead_of(&self, expected: &Self) -> &'static str {
        if self.store != expected.store {
            "is another store than was witnessed"
        } else if self.batch < expected.batch {
            "is older than was witnessed, or lost what was"
        } else {
            "has another history than was witnessed"
        }
    }
}

impl fmt::Display for Witness {
    /// The store's id in hexadecimal, then epoch, batch, next record, checksum in hexadecimal, segment and offset, with
    /// `:` between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            store,
            epoch,
            batch,
            next_record,
            checksum,
            segment,
            offset,
        } = self;
        for byte in store.0 {
            write!(f, "{byte:02x}")?;
        }
        write!(
            f,
            ":{epoch}:{batch}:{next_record}:{checksum:08x}:{segment}:{offset}"
        )
    }
}

/// Why a text is not a [`Witness`]: it is not seven fields with `:` between them. Fix the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a witness: the store's id, epoch, batch, next record, checksum, segment and offset, with : between them"
)]
#[non_exhaustive]
pub struct WitnessError;

impl FromStr for Witness {
    type Err = WitnessError;

    fn from_str(text: &str) -> Result<Self, WitnessError> {
        let parts: Vec<&str> = text.split(':').collect();
        let [store, epoch, batch, next_record, checksum, segment, offset] = parts[..] else {
            return Err(WitnessError);
        };
        let witness = Self {
            store: StoreId(bytes(store)?),
            epoch: number(epoch)?,
            batch: number(batch)?,
            next_record: number(next_record)?,
            checksum: u32::from_str_radix(checksum, 16).map_err(|_| WitnessError)?,
            segment: number(segment)?,
            offset: number(offset)?,
        };
        // One text for each witness: no signs, no leading zeroes, no capitals.
        if witness.to_string() == text {
            Ok(witness)
        } else {
            Err(WitnessError)
        }
    }
}

/// Sixteen bytes from hexadecimal.
fn bytes(text: &str) -> Result<[u8; 16], WitnessError> {
    let mut all = u128::from_str_radix(text, 16).map_err(|_| WitnessError)?;
    let mut bytes = [0; 16];
    for byte in bytes.iter_mut().rev() {
        *byte = (all & 0xff) as u8;
        all >>= 8;
    }
    Ok(bytes)
}

fn number(text: &str) -> Result<u64, WitnessError> {
    text.parse().map_err(|_| WitnessError)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a witness comes back from its text, and no other text is one.
    #[test]
    fn texts() {
        let witness = Witness {
            store: StoreId([7; 16]),
            epoch: 3,
            batch: u64::MAX,
            next_record: 12,
            checksum: 0x0a,
            segment: 2,
            offset: 4096,
        };
        let text = witness.to_string();
        assert_eq!(
            text,
            "07070707070707070707070707070707:3:18446744073709551615:12:0000000a:2:4096"
        );
        assert_eq!(text.parse(), Ok(witness));
        for wrong in [
            "".to_owned(),
            format!("{text}:1"),
            format!(" {text}"),
            text.replace(":3:", ":+3:"),
            text.replace(":3:", ":03:"),
            text.replace(":3:", ":18446744073709551616:"),
            text.replace("0000000a", "0000000A"),
            text.replace("0000000a", "a"),
            text.replacen("07", "", 1),
            text.replacen("07", "+7", 1),
        ] {
            assert_eq!(wrong.parse::<Witness>(), Err(WitnessError), "{wrong:?}");
        }
    }
}
