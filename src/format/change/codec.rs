//! The bytes of changes. FORMAT.md section 8.

use super::*;
use crate::format::Fault;
use crate::format::bytes::{Put, Take, within};
use crate::mail::{Field, FieldName};

impl Change {
    /// Appends the payload to `out`, without padding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::CreateAccount {
                name,
                uid_validity_mark,
            }
            | Self::RenameAccount {
                name,
                uid_validity_mark,
            } => {
                out.put_u32(*uid_validity_mark);
                out.put_text(name);
            }
            Self::DeleteAccount { uid_validity_mark } => out.put_u32(*uid_validity_mark),
            Self::CreateMailbox(create) => {
                out.put_u32(create.parent);
                out.put_u32(create.uid_validity.get());
                create.properties.encode(out);
                out.put_text(&create.name);
            }
            Self::RenameMailbox {
                parent,
                name,
                uid_validity,
            } => {
                out.put_u32(*parent);
                out.put_u32(count(uid_validity.len()));
                for (mailbox, value) in uid_validity {
                    out.put_u32(*mailbox);
                    out.put_u32(*value);
                }
                out.put_text(name);
            }
            Self::DeleteMailbox => {}
            Self::UpdateMailbox(properties) => properties.encode(out),
            Self::Subscribe {
                principal,
                name,
                on,
            } => {
                out.put_u32(*principal);
                out.put_u16(u16::from(*on));
                out.put_text(name);
            }
            Self::Deliver(deliver) => deliver.encode(out),
            Self::Flag(flag) => flag.encode(out),
            Self::Copy(transfer) | Self::Move(transfer) => transfer.encode(out),
            Self::Expunge { uids } => put_uids(out, uids),
            Self::Fence(fence) => {
                out.put_u64(fence.first_lost);
                out.put_u64(fence.last_lost);
                out.put_u32(fence.bound);
            }
            Self::Base(base) => base.encode(out),
            Self::Assign(assign) => assign.encode(out),
            Self::Deferred(deferred) => deferred.encode(out),
            Self::Alias { target } => out.put(target.as_bytes()),
        }
    }

    pub(in crate::format) fn body_of(kind: u8, payload: &[u8]) -> Option<BodyAt> {
        super::delivery::body_of(kind, payload)
    }

    /// Reads the payload of a record of `kind`.
    ///
    /// # Errors
    /// Any [`Fault`]: the payload contradicts itself, or the kind is of a newer build.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, Fault> {
        let mut take = Take::new(payload);
        let change = match kind {
            CREATE_ACCOUNT => Self::CreateAccount {
                uid_validity_mark: take.u32()?,
                name: take.text("account name")?.into(),
            },
            RENAME_ACCOUNT => Self::RenameAccount {
                uid_validity_mark: take.u32()?,
                name: take.text("account name")?.into(),
            },
            DELETE_ACCOUNT => Self::DeleteAccount {
                uid_validity_mark: take.u32()?,
            },
            CREATE_MAILBOX => Self::CreateMailbox(CreateMailbox {
                parent: take.u32()?,
                uid_validity: take_uid_validity(&mut take)?,
                properties: MailboxProperties::decode(&mut take)?,
                name: take.text("mailbox name")?.into(),
            }),
            RENAME_MAILBOX => {
                let parent = take.u32()?;
                let many = take_count(&mut take, 8)?;
                let uid_validity = (0..many)
                    .map(|_| Ok((take.u32()?, take.u32()?)))
                    .collect::<Result<_, Fault>>()?;
                Self::RenameMailbox {
                    parent,
                    uid_validity,
                    name: take.text("mailbox name")?.into(),
                }
            }
            DELETE_MAILBOX => Self::DeleteMailbox,
            UPDATE_MAILBOX => Self::UpdateMailbox(MailboxProperties::decode(&mut take)?),
            SUBSCRIBE => Self::Subscribe {
                principal: take.u32()?,
                on: take_bool(&mut take, "subscription")?,
                name: take.text("mailbox name")?.into(),
            },
            DELIVER => Self::Deliver(Box::new(Deliver::decode(&mut take)?)),
            FLAG => Self::Flag(Flag::decode(&mut take)?),
            COPY => Self::Copy(Transfer::decode(&mut take)?),
            MOVE => Self::Move(Transfer::decode(&mut take)?),
            EXPUNGE => Self::Expunge {
                uids: take_uids(&mut take)?,
            },
            FENCE => Self::Fence(Fence {
                first_lost: take.u64()?,
                last_lost: take.u64()?,
                bound: take.u32()?,
            }),
            BASE => Self::Base(Base::decode(&mut take)?),
            ASSIGN => Self::Assign(Box::new(Assign::decode(&mut take)?)),
            DEFERRED => Self::Deferred(Box::new(Deferred::decode(&mut take)?)),
            ALIAS => Self::Alias {
                target: AccountId::from_bytes(take.array()?),
            },
            kind => return Err(Fault::Kind { kind }),
        };
        take.padding()?;
        Ok(change)
    }
}

impl MailboxProperties {
    /// Appends them, in 16 bytes.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.put_u32(self.special_use.bits());
        out.put_u32(u32::from(self.noselect));
        out.put_u32(self.sort_order);
        out.put_u32(self.quota_root);
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(crate) fn decode(take: &mut Take<'_>) -> Result<Self, Fault> {
        let bits = take.u32()?;
        let special_use =
            SpecialUse::from_bits(bits).ok_or(unknown_bits("special use", bits.into()))?;
        let noselect = match take.u32()? {
            0 => false,
            1 => true,
            found => return Err(unknown_bits("mailbox attributes", found.into())),
        };
        Ok(Self {
            special_use,
            noselect,
            sort_order: take.u32()?,
            quota_root: take.u32()?,
        })
    }
}

impl Base {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.part);
        out.put_u32(self.parts);
        out.put_u32(count(self.bytes.len()));
        out.put_u32(0);
        out.put(&self.bytes);
    }

    fn decode(take: &mut Take<'_>) -> Result<Self, Fault> {
        let (part, parts) = (take.u32()?, take.u32()?);
        within("count of parts", parts.into(), 1, Self::PARTS_MAX.into())?;
        within("part", part.into(), 0, u64::from(parts) - 1)?;
        let len = take.u32()? as usize;
        take.zeroes(4)?;
        let bytes = take.slice(len)?.to_vec();
        Ok(Self { part, parts, bytes })
    }
}

impl Flag {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.add.bits());
        out.put_u16(self.remove.bits());
        out.put_u16(u16::from(self.replace_keywords));
        out.put_u16(u16::try_from(self.add_keywords.len()).unwrap_or(u16::MAX));
        out.put_u16(u16::try_from(self.remove_keywords.len()).unwrap_or(u16::MAX));
        out.put_u16(0);
        out.put_u32(self.principal);
        put_uids(out, &self.uids);
        put_keywords(out, &self.add_keywords);
        put_keywords(out, &self.remove_keywords);
    }

    fn decode(take: &mut Take<'_>) -> Result<Self, Fault> {
        let (add, remove) = (take_flags(take)?, take_flags(take)?);
        let replace_keywords = take_bool(take, "keyword replacement")?;
        let (adds, removes) = (take.u16()?, take.u16()?);
        take.zeroes(2)?;
        Ok(Self {
            add,
            remove,
            replace_keywords,
            principal: take.u32()?,
            uids: take_uids(take)?,
            add_keywords: take_keywords(take, adds)?,
            remove_keywords: take_keywords(take, removes)?,
        })
    }
}

impl Transfer {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.source);
        out.put_u32(count(self.entries.len()));
        out.put_u32(self.uid_validity.get());
        out.put_u32(0);
        out.put_i64(self.save_date);
        for entry in &self.entries {
            out.put_u32(entry.from.get());
            out.put_u32(entry.to.get());
            out.put_u64(entry.email);
        }
    }

    fn decode(take: &mut Take<'_>) -> Result<Self, Fault> {
        let source = take.u32()?;
        let many = take_count(take, 16)?;
        let uid_validity = take_uid_validity(take)?;
        take.zeroes(4)?;
        let save_date = take.i64()?;
        let entries = (0..many)
            .map(|_| {
                Ok(Transferred {
                    from: take_uid(take)?,
                    to: take_uid(take)?,
                    email: take.u64()?,
                })
            })
            .collect::<Result<_, Fault>>()?;
        Ok(Self {
            source,
            uid_validity,
            save_date,
            entries,
        })
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

pub(super) fn unknown_bits(field: &'static str, found: u64) -> Fault {
    Fault::Range {
        field,
        found,
        min: 0,
        max: 0,
    }
}

/// A count of items of `size` bytes, believed only as far as the bytes reach.
fn take_count(take: &mut Take<'_>, size: usize) -> Result<usize, Fault> {
    let many = take.u32()? as usize;
    let needed = many.saturating_mul(size);
    if needed > take.left() {
        return Err(Fault::Short {
            len: take.left() as u64,
            needed: needed as u64,
        });
    }
    Ok(many)
}

fn take_bool(take: &mut Take<'_>, field: &'static str) -> Result<bool, Fault> {
    match take.u16()? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(Fault::Range {
            field,
            found: found.into(),
            min: 0,
            max: 1,
        }),
    }
}

fn take_uid(take: &mut Take<'_>) -> Result<Uid, Fault> {
    uid_of(take.u32()?)
}

pub(super) fn uid_of(number: u32) -> Result<Uid, Fault> {
    Uid::new(number).ok_or(Fault::Range {
        field: "UID",
        found: 0,
        min: 1,
        max: u32::MAX.into(),
    })
}

fn take_uid_validity(take: &mut Take<'_>) -> Result<UidValidity, Fault> {
    uid_validity_of(take.u32()?)
}

pub(super) fn uid_validity_of(number: u32) -> Result<UidValidity, Fault> {
    UidValidity::new(number).ok_or(Fault::Range {
        field: "UIDVALIDITY",
        found: 0,
        min: 1,
        max: u32::MAX.into(),
    })
}

pub(super) fn take_flags(take: &mut Take<'_>) -> Result<Flags, Fault> {
    let bits = take.u16()?;
    Flags::from_bits(bits).ok_or(unknown_bits("flags", bits.into()))
}

fn put_uids(out: &mut Vec<u8>, uids: &UidSet) {
    out.put_u32(count(uids.ranges().len()));
    for (first, last) in uids.ranges() {
        out.put_u32(first.get());
        out.put_u32(last.get());
    }
}

/// Ranges, ascending and apart, as they are written.
fn take_uids(take: &mut Take<'_>) -> Result<UidSet, Fault> {
    let many = take_count(take, 8)?;
    let mut uids = UidSet::new();
    // UIDs from here on are neither in a range already nor next to one.
    let mut free = 1;
    for _ in 0..many {
        let (first, last) = (take_uid(take)?, take_uid(take)?);
        within("UID range", first.get().into(), free, last.get().into())?;
        free = u64::from(last.get()) + 2;
        uids.insert_range(first, last);
    }
    Ok(uids)
}

pub(super) fn put_keywords(out: &mut Vec<u8>, keywords: &[Keyword]) {
    for keyword in keywords {
        out.put_text(keyword.as_str());
    }
}

pub(super) fn take_keywords(take: &mut Take<'_>, many: u16) -> Result<Vec<Keyword>, Fault> {
    let one = |_| {
        let text = take.text("keyword")?;
        let keyword = Keyword::new(text).ok();
        // Another spelling of a keyword is not what was written.
        let as_written = keyword.filter(|keyword| keyword.as_str() == text);
        as_written.ok_or(Fault::Text { field: "keyword" })
    };
    (0..many).map(one).collect()
}

pub(super) fn take_field(take: &mut Take<'_>) -> Result<Field, Fault> {
    let code = take.u8()?;
    let name = FieldName::from_number(code).ok_or(unknown_bits("header field", code.into()))?;
    take.zeroes(1)?;
    Ok(Field {
        name,
        offset: take.u16()?,
        len: take.u16()?,
    })
}
