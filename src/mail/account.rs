//! Names of accounts.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What an account is called from outside: 1 to 512 bytes of UTF-8 without control characters, kept exactly as given.
///
/// Two names are the same account only if they are the same bytes: which spellings mean one person is for the server
/// to say. Cloning shares the text.
///
/// ```
/// use mailkeep::mail::AccountName;
///
/// let anna = AccountName::new("Anna@example.it")?;
/// assert_eq!(anna.as_str(), "Anna@example.it");
/// assert_ne!(anna, AccountName::new("anna@example.it")?);
/// # Ok::<(), mailkeep::mail::AccountNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(Arc<str>);

impl AccountName {
    /// The most bytes a name has.
    pub const LEN_MAX: usize = 512;

    /// The name `text`, as given.
    ///
    /// # Errors
    /// [`AccountNameError`] where it is empty, too long, or holds a control character.
    pub fn new(text: &str) -> Result<Self, AccountNameError> {
        if text.is_empty() {
            return Err(AccountNameError::Empty);
        }
        if text.len() > Self::LEN_MAX {
            return Err(AccountNameError::TooLong {
                len: text.len(),
                max: Self::LEN_MAX,
            });
        }
        match text.char_indices().find(|(_, char)| char.is_control()) {
            Some((index, found)) => Err(AccountNameError::Control { index, found }),
            None => Ok(Self(text.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for AccountName {
    type Err = AccountNameError;

    fn from_str(text: &str) -> Result<Self, AccountNameError> {
        Self::new(text)
    }
}

/// Why a text is not an [`AccountName`]. Fix the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountNameError {
    /// There is nothing.
    #[error("account name is empty")]
    Empty,
    /// There are too many bytes.
    #[error("account name has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Length in bytes.
        len: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// There is a control character.
    #[error("account name has control character U+{:04X} at byte {index}", u32::from(*found))]
    Control {
        /// Where it is, in bytes from 0.
        index: usize,
        /// The character.
        found: char,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: account names are bounded, free of control characters, and otherwise untouched.
    #[test]
    fn account_names() {
        for text in ["a", "e\u{301}", "INBOX", "a/b", "\u{2028}"] {
            assert_eq!(AccountName::new(text).unwrap().as_str(), text);
        }
        assert!(AccountName::new(&"x".repeat(512)).is_ok());
        let refusal = |text: &str| text.parse::<AccountName>().unwrap_err().to_string();
        assert_eq!(refusal(""), "account name is empty");
        assert_eq!(
            refusal(&"x".repeat(513)),
            "account name has 513 bytes, at most 512 are allowed"
        );
        assert_eq!(
            refusal("a\u{85}"),
            "account name has control character U+0085 at byte 1"
        );
    }
}
