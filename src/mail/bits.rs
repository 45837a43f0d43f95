//! Sets of named bits: one macro, so that flags and special uses behave alike.

/// Declares a set of named bits over an unsigned number.
macro_rules! bit_set {
    (
        $(#[$doc:meta])*
        $set:ident: $number:ident {
            $($(#[$bit_doc:meta])* $bit:ident = $value:literal, $name:literal;)+
        }
    ) => {
        $(#[$doc])*
        // Columns of sets are read where they are mapped: a set is its number and nothing else.
        #[repr(transparent)]
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $set($number);

        impl $set {
            /// No member at all.
            pub const EMPTY: Self = Self(0);
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)+

            /// Each member with its name, in the order of the bits.
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$bit, $name)),+];

            /// The set with these bits, or `None` where a bit is set that has no meaning.
            #[must_use]
            pub const fn from_bits(bits: $number) -> Option<Self> {
                let known = $($value)|+;
                if bits & !known == 0 { Some(Self(bits)) } else { None }
            }

            /// The bits, as [`from_bits`](Self::from_bits) takes them.
            #[must_use]
            pub const fn bits(self) -> $number {
                self.0
            }

            /// Whether no member is in the set.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Whether every member of `other` is in the set; so every set contains the empty one.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The members of either set.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The members that are not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The one member with this name, backslash included, in any case of letters.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                let found = Self::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
                found.map(|(member, _)| *member)
            }

            /// The names of the members, backslash included, in the order of the bits.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().filter(move |(member, _)| self.contains(*member)).map(|(_, name)| *name)
            }
        }

        impl std::ops::BitOr for $set {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }

        impl std::ops::BitOrAssign for $set {
            fn bitor_assign(&mut self, other: Self) {
                *self = self.union(other);
            }
        }

        impl std::fmt::Display for $set {
            /// The names with a space between them; nothing for the empty set.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.names().enumerate().try_for_each(|(index, name)| {
                    let space = if index == 0 { "" } else { " " };
                    write!(f, "{space}{name}")
                })
            }
        }

        impl std::fmt::Debug for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($set))
            }
        }
    };
}

pub(super) use bit_set;
