//! What a mailbox is used for, as far as clients agree on it.

use super::bits::bit_set;

bit_set! {
    /// The special uses of a mailbox: RFC 6154 and RFC 9051 (7.3.1), RFC 8457 for `\Important`.
    ///
    /// A JMAP role (RFC 8621, 2) is the same name in lower case without the backslash.
    ///
    /// ```
    /// use mailkeep::mail::SpecialUse;
    ///
    /// let uses = SpecialUse::SENT | SpecialUse::ARCHIVE;
    /// assert_eq!(uses.to_string(), r"\Archive \Sent");
    /// assert_eq!(SpecialUse::from_name(r"\trash"), Some(SpecialUse::TRASH));
    /// assert_eq!(SpecialUse::from_role("junk"), Some(SpecialUse::JUNK));
    /// ```
    SpecialUse: u32 {
        /// `\All`: shows every message.
        ALL = 1, "\\All";
        /// `\Archive`: holds messages put aside.
        ARCHIVE = 2, "\\Archive";
        /// `\Drafts`: holds unfinished messages.
        DRAFTS = 4, "\\Drafts";
        /// `\Flagged`: shows messages that ask for attention.
        FLAGGED = 8, "\\Flagged";
        /// `\Junk`: holds what is taken for spam.
        JUNK = 16, "\\Junk";
        /// `\Sent`: holds copies of what was sent.
        SENT = 32, "\\Sent";
        /// `\Trash`: holds what is to be deleted.
        TRASH = 64, "\\Trash";
        /// `\Important`: shows what is taken for important.
        IMPORTANT = 128, "\\Important";
    }
}

impl SpecialUse {
    /// The one member with this JMAP role, which is in lower case and has no backslash.
    #[must_use]
    pub fn from_role(role: &str) -> Option<Self> {
        if role.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let same = |name: &str| {
            name.strip_prefix('\\')
                .is_some_and(|name| name.eq_ignore_ascii_case(role))
        };
        Self::NAMES
            .iter()
            .find(|(_, name)| same(name))
            .map(|(member, _)| *member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the bits are those of the format, each name finds its bit, and no unknown bit gets in.
    #[test]
    fn bits_and_names_are_fixed() {
        let names = "\\All \\Archive \\Drafts \\Flagged \\Junk \\Sent \\Trash \\Important";
        assert_eq!(SpecialUse::from_bits(255).unwrap().to_string(), names);
        for (bit, name) in names.split(' ').enumerate() {
            assert_eq!(SpecialUse::from_name(name).unwrap().bits(), 1 << bit);
        }
        assert_eq!(SpecialUse::from_bits(256), None);
        assert_eq!(SpecialUse::from_name("\\Inbox"), None);
    }

    /// Goal: a role is the name in lower case, and only that.
    #[test]
    fn roles_are_lower_case() {
        assert_eq!(
            SpecialUse::from_role("important"),
            Some(SpecialUse::IMPORTANT)
        );
        for role in ["Important", "\\important", "inbox", ""] {
            assert_eq!(SpecialUse::from_role(role), None, "{role}");
        }
    }
}
