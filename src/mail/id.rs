//! The numbers and digests that name things: no value of these types is invalid.
//!
//! Every number is non-zero, so an `Option` of one is as small as the number itself.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

/// Declares a newtype over a non-zero number that is at most `$max`.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident: $nonzero:ident as $number:ident, at most $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($nonzero);

        impl $name {
            /// The smallest value, 1.
            pub const MIN: Self = Self($nonzero::MIN);
            /// The largest value.
            pub const MAX: Self = Self($max);

            /// The value for `number`, or `None` where it is 0 or above [`MAX`](Self::MAX).
            #[must_use]
            pub const fn new(number: $number) -> Option<Self> {
                match $nonzero::new(number) {
                    Some(nonzero) if number <= Self::MAX.get() => Some(Self(nonzero)),
                    _ => None,
                }
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> $number {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Names one entry of a mailbox for as long as its [`UidValidity`] stands; never reused (RFC 9051, 2.3.1.1).
    ///
    /// ```
    /// use mailkeep::mail::Uid;
    ///
    /// assert_eq!(Uid::new(7).map(Uid::get), Some(7));
    /// assert_eq!(Uid::new(0), None);
    /// assert_eq!(size_of::<Option<Uid>>(), size_of::<u32>());
    /// ```
    Uid: NonZeroU32 as u32, at most NonZeroU32::MAX
}

number! {
    /// Changes exactly when the UIDs a client knows of a mailbox stop being true; only ever grows (RFC 9051, 2.3.1.1).
    ///
    /// ```
    /// use mailkeep::mail::UidValidity;
    ///
    /// assert!(UidValidity::new(1_700_000_000) > Some(UidValidity::MIN));
    /// ```
    UidValidity: NonZeroU32 as u32, at most NonZeroU32::MAX
}

/// 2^63 - 1: what a signed 64-bit number holds, as RFC 7162 demands.
const MODSEQ_MAX: NonZeroU64 = match NonZeroU64::new(i64::MAX.unsigned_abs()) {
    Some(max) => max,
    None => unreachable!(),
};

number! {
    /// Grows with every change: 1 to 2^63 - 1 (RFC 7162, 3.1; the bound is section 7's `mod-sequence-value`).
    ///
    /// ```
    /// use mailkeep::mail::ModSeq;
    ///
    /// assert_eq!(ModSeq::MAX.get(), (1 << 63) - 1);
    /// assert_eq!(ModSeq::new(1 << 63), None);
    /// ```
    ModSeq: NonZeroU64 as u64, at most MODSEQ_MAX
}

number! {
    /// Names a mailbox within its account; kept through renames and never reused.
    ///
    /// ```
    /// use mailkeep::mail::MailboxId;
    ///
    /// assert_eq!(MailboxId::MIN.to_string(), "1");
    /// ```
    MailboxId: NonZeroU32 as u32, at most NonZeroU32::MAX
}

number! {
    /// Names a message within its account, whichever mailboxes hold it (RFC 8474 EMAILID, RFC 8621 `Email.id`).
    ///
    /// ```
    /// use mailkeep::mail::EmailId;
    ///
    /// assert_eq!(EmailId::new(0), None);
    /// ```
    EmailId: NonZeroU64 as u64, at most NonZeroU64::MAX
}

number! {
    /// Names a conversation within its account (RFC 8474 THREADID, RFC 8621 `Thread.id`).
    ///
    /// ```
    /// use mailkeep::mail::ThreadId;
    ///
    /// assert_eq!(ThreadId::new(3).map(|id| id.to_string()), Some("3".into()));
    /// ```
    ThreadId: NonZeroU64 as u64, at most NonZeroU64::MAX
}

/// Declares a newtype over `$len` bytes that is written in hexadecimal.
macro_rules! octets {
    ($(#[$doc:meta])* $name:ident: $len:literal bytes) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The value with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                let mut bytes = [0; $len];
                decode_hex(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
    };
}

octets! {
    /// Names an account: 128 bits that are never used again, so that a name given away twice never mixes two histories.
    ///
    /// ```
    /// use mailkeep::mail::AccountId;
    ///
    /// let id = AccountId::from_bytes(*b"0123456789abcdef");
    /// assert_eq!(id.to_string(), "30313233343536373839616263646566");
    /// assert_eq!(id.to_string().parse(), Ok(id));
    /// ```
    AccountId: 16 bytes
}

octets! {
    /// The BLAKE3 digest of a message's bytes as stored.
    ///
    /// ```
    /// use mailkeep::mail::Digest;
    ///
    /// let digest = Digest::of(b"");
    /// assert!(digest.to_string().starts_with("af1349b9f5f9a1a6"));
    /// assert_eq!(digest.to_string().parse(), Ok(digest));
    /// ```
    Digest: 32 bytes
}

impl Digest {
    /// Digests `bytes`.
    ///
    /// # Cost
    /// Reads every byte once: about a gigabyte per second and core, several with wide vector units.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// Why a text is not an [`AccountId`] or a [`Digest`]. Fix the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HexError {
    /// The text is too short or too long.
    #[error("found {found} bytes of text, expected {expected} hexadecimal digits")]
    Length {
        /// Length of the text in bytes.
        found: usize,
        /// Number of digits that are needed.
        expected: usize,
    },
    /// A byte is no hexadecimal digit.
    #[error("found byte 0x{found:02x} at index {index}, expected a hexadecimal digit")]
    Digit {
        /// Where the byte is, from 0.
        index: usize,
        /// The byte.
        found: u8,
    },
}

/// Fills `bytes` from two digits each, upper or lower case.
fn decode_hex(text: &str, bytes: &mut [u8]) -> Result<(), HexError> {
    let expected = bytes.len() * 2;
    if text.len() != expected {
        return Err(HexError::Length {
            found: text.len(),
            expected,
        });
    }
    for (index, found) in text.bytes().enumerate() {
        let digit = char::from(found)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok());
        let digit = digit.ok_or(HexError::Digit { index, found })?;
        if let Some(byte) = bytes.get_mut(index / 2) {
            *byte = *byte << 4 | digit;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: zero and what lies above the bound are refused, both ends are taken.
    #[test]
    fn numbers_keep_their_bounds() {
        assert_eq!(Uid::new(0), None);
        assert_eq!(Uid::new(1), Some(Uid::MIN));
        assert_eq!(Uid::new(u32::MAX), Some(Uid::MAX));
        assert_eq!(ModSeq::new(0), None);
        assert_eq!(ModSeq::new(1), Some(ModSeq::MIN));
        assert_eq!(ModSeq::new((1 << 63) - 1), Some(ModSeq::MAX));
        assert_eq!(ModSeq::new(1 << 63), None);
        assert_eq!(EmailId::new(u64::MAX), Some(EmailId::MAX));
    }

    /// Goal: "none" costs no byte.
    #[test]
    fn options_are_as_small_as_the_number() {
        assert_eq!(size_of::<Option<UidValidity>>(), 4);
        assert_eq!(size_of::<Option<MailboxId>>(), 4);
        assert_eq!(size_of::<Option<ModSeq>>(), 8);
        assert_eq!(size_of::<Option<ThreadId>>(), 8);
    }

    /// Goal: ids are shown as plain numbers, also with a width.
    #[test]
    fn numbers_display_plainly() {
        assert_eq!(format!("{:>4}", Uid::MIN), "   1");
        assert_eq!(format!("{:?}", Uid::MIN), "Uid(1)");
    }

    /// Goal: text and bytes are the same thing, in either case of letters.
    #[test]
    fn hexadecimal_goes_both_ways() {
        let id =
            AccountId::from_bytes([0, 1, 0x2f, 0xff, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xab]);
        let text = "00012fff0405060708090a0b0c0d0eab";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert_eq!(format!("{id:?}"), format!("AccountId({text})"));
    }

    /// Goal: what is not hexadecimal is named exactly.
    #[test]
    fn hexadecimal_refuses() {
        let refusal = |text: &str| text.parse::<AccountId>().unwrap_err().to_string();
        assert_eq!(
            refusal("00"),
            "found 2 bytes of text, expected 32 hexadecimal digits"
        );
        assert_eq!(
            refusal("0001020304050607080g0a0b0c0d0e0f"),
            "found byte 0x67 at index 19, expected a hexadecimal digit"
        );
        assert_eq!(
            refusal(&format!("{}\u{e9}", "0".repeat(30))),
            "found byte 0xc3 at index 30, expected a hexadecimal digit"
        );
    }

    /// Goal: the digest is BLAKE3; the vector is the one of its specification for the empty input.
    #[test]
    fn digest_is_blake3() {
        assert_eq!(
            Digest::of(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        assert_ne!(Digest::of(b"a"), Digest::of(b"b"));
    }
}
