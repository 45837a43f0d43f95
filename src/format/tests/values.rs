//! Values of every structure, from all of their ranges.

use super::*;

/// Numbers that count: the ends of the range, and anything between.
pub(super) fn number() -> impl Strategy<Value = u64> {
    let max = i64::MAX.unsigned_abs();
    prop_oneof![Just(0), Just(1), Just(max), 0..=max]
}

pub(super) fn uid() -> impl Strategy<Value = Uid> {
    prop_oneof![Just(1), Just(u32::MAX), 1..=u32::MAX].prop_map(|uid| Uid::new(uid).unwrap())
}

pub(super) fn uid_validity() -> impl Strategy<Value = UidValidity> {
    (1..=u32::MAX).prop_map(|value| UidValidity::new(value).unwrap())
}

pub(super) fn uids() -> impl Strategy<Value = UidSet> {
    prop::collection::vec((uid(), 0..3_u32), 0..6).prop_map(|ranges| {
        let mut uids = UidSet::new();
        for (first, more) in ranges {
            let last = Uid::new(first.get().saturating_add(more)).unwrap();
            uids.insert_range(first, last);
        }
        uids
    })
}

pub(super) fn keywords() -> impl Strategy<Value = Vec<Keyword>> {
    let keyword = prop_oneof!["[a-z$][a-z0-9_-]{0,20}", "a{255}"]
        .prop_map(|name| Keyword::new(&name).unwrap());
    prop::collection::vec(keyword, 0..4)
}

pub(super) fn flags() -> impl Strategy<Value = Flags> {
    (0..32_u16).prop_map(|bits| Flags::from_bits(bits).unwrap())
}

pub(super) fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z/\u{e9}\u{4f60}]{1,40}", "x{512}"]
}

pub(super) fn account() -> impl Strategy<Value = AccountId> {
    any::<[u8; 16]>().prop_map(AccountId::from_bytes)
}

pub(super) fn properties() -> impl Strategy<Value = MailboxProperties> {
    (0..256_u32, any::<bool>(), any::<u32>(), any::<u32>()).prop_map(
        |(special_use, noselect, sort_order, quota_root)| MailboxProperties {
            special_use: SpecialUse::from_bits(special_use).unwrap(),
            noselect,
            sort_order,
            quota_root,
        },
    )
}

pub(super) fn date() -> impl Strategy<Value = InternalDate> {
    let seconds = prop_oneof![
        Just(-62_135_510_400_i64),
        Just(253_402_214_400),
        -62_135_510_400..253_402_214_400_i64
    ];
    (seconds, -1439..=1439_i16).prop_map(|(at, zone)| InternalDate::new(at, zone).unwrap())
}

pub(super) fn body_at() -> impl Strategy<Value = BodyAt> {
    prop_oneof![
        any::<u32>().prop_map(BodyAt::Here),
        any::<u64>().prop_map(BodyAt::Record),
        any::<u64>().prop_map(BodyAt::Segment),
    ]
}

pub(super) fn field() -> impl Strategy<Value = Field> {
    (1..=11_u8, any::<u16>(), any::<u16>()).prop_map(|(name, offset, len)| Field {
        name: FieldName::from_number(name).unwrap(),
        offset,
        len,
    })
}

pub(super) fn summary() -> impl Strategy<Value = Summary> {
    let fields = prop::collection::vec(field(), 0..12);
    let parts = (
        any::<u8>(),
        any::<u32>(),
        any::<Option<i64>>(),
        any::<u64>(),
    );
    (parts, fields).prop_map(
        |((version, header_len, sent, message_id_hash), fields)| Summary {
            version,
            header_len,
            sent,
            message_id_hash,
            fields: fields.into_iter().collect(),
        },
    )
}

pub(super) fn deliver() -> impl Strategy<Value = Change> {
    let entry = (uid(), uid_validity(), flags(), keywords(), date());
    let shape = (any::<u64>(), 0..64_u16).prop_map(|(size, bits)| Shape::from_parts(size, bits));
    let numbers = (any::<i64>(), any::<u64>(), any::<u64>(), any::<u32>());
    let rest = (shape, any::<[u8; 32]>(), body_at(), summary());
    (entry, numbers, rest).prop_map(|(entry, numbers, rest)| {
        let (uid, uid_validity, flags, keywords, internal_date) = entry;
        let (save_date, email, thread, raw_len) = numbers;
        let (shape, digest, body, summary) = rest;
        Change::Deliver(Box::new(Deliver {
            uid,
            uid_validity,
            flags,
            keywords,
            internal_date,
            save_date,
            email,
            thread,
            raw_len,
            shape: shape.unwrap(),
            digest: Digest::from_bytes(digest),
            body,
            summary,
        }))
    })
}

pub(super) fn base() -> impl Strategy<Value = Change> {
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    (1..=Base::PARTS_MAX, any::<prop::sample::Index>(), bytes).prop_map(|(parts, part, bytes)| {
        let part = u32::try_from(part.index(parts as usize)).unwrap();
        Change::Base(Base { part, parts, bytes })
    })
}

/// A delivery that another record says more of: an assignment, or one that was put off.
pub(super) fn later() -> impl Strategy<Value = Change> {
    (deliver(), number(), name(), name()).prop_map(|(deliver, deferred, account, mailbox)| {
        let Change::Deliver(deliver) = deliver else {
            unreachable!()
        };
        if !matches!(deliver.body, BodyAt::Here(_)) {
            let deliver = *deliver;
            return Change::Assign(Box::new(Assign { deferred, deliver }));
        }
        Change::Deferred(Box::new(Deferred {
            account,
            mailbox,
            flags: deliver.flags,
            keywords: deliver.keywords,
            internal_date: deliver.internal_date,
            save_date: deliver.save_date,
            raw_len: deliver.raw_len,
            shape: deliver.shape,
            digest: deliver.digest,
            body: deliver.body,
            summary: deliver.summary,
        }))
    })
}

pub(super) fn flag() -> impl Strategy<Value = Change> {
    let marks = (flags(), flags(), keywords(), keywords());
    (uids(), marks, any::<bool>(), any::<u32>()).prop_map(
        |(uids, (add, remove, add_keywords, remove_keywords), replace_keywords, principal)| {
            Change::Flag(Flag {
                uids,
                add,
                remove,
                add_keywords,
                remove_keywords,
                replace_keywords,
                principal,
            })
        },
    )
}

pub(super) fn transfer() -> impl Strategy<Value = Transfer> {
    let entry =
        (uid(), uid(), any::<u64>()).prop_map(|(from, to, email)| Transferred { from, to, email });
    let entries = prop::collection::vec(entry, 0..5);
    (any::<u32>(), uid_validity(), any::<i64>(), entries).prop_map(
        |(source, uid_validity, save_date, entries)| Transfer {
            source,
            uid_validity,
            save_date,
            entries,
        },
    )
}

pub(super) fn mailbox_change() -> impl Strategy<Value = Change> {
    let values = prop::collection::vec(any::<(u32, u32)>(), 0..5);
    let create = (any::<u32>(), name(), uid_validity(), properties()).prop_map(
        |(parent, name, uid_validity, properties)| {
            Change::CreateMailbox(CreateMailbox {
                parent,
                name,
                uid_validity,
                properties,
            })
        },
    );
    prop_oneof![
        create,
        (any::<u32>(), name(), values).prop_map(|(parent, name, uid_validity)| {
            Change::RenameMailbox {
                parent,
                name,
                uid_validity,
            }
        }),
        Just(Change::DeleteMailbox),
        properties().prop_map(Change::UpdateMailbox),
        (any::<u32>(), name(), any::<bool>()).prop_map(|(principal, name, on)| Change::Subscribe {
            principal,
            name,
            on
        }),
    ]
}

pub(super) fn account_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (name(), any::<u32>()).prop_map(|(name, uid_validity_mark)| Change::CreateAccount {
            name,
            uid_validity_mark
        }),
        (name(), any::<u32>()).prop_map(|(name, uid_validity_mark)| Change::RenameAccount {
            name,
            uid_validity_mark
        }),
        any::<u32>().prop_map(|uid_validity_mark| Change::DeleteAccount { uid_validity_mark }),
        (any::<u64>(), any::<u64>(), any::<u32>()).prop_map(|(first_lost, last_lost, bound)| {
            Change::Fence(Fence {
                first_lost,
                last_lost,
                bound,
            })
        }),
    ]
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        account_change(),
        mailbox_change(),
        deliver(),
        flag(),
        transfer().prop_map(Change::Copy),
        transfer().prop_map(Change::Move),
        uids().prop_map(|uids| Change::Expunge { uids }),
        base(),
        later(),
        account().prop_map(|target| Change::Alias { target }),
    ]
}

pub(super) fn record_header() -> impl Strategy<Value = RecordHeader> {
    (number(), number(), account(), any::<u32>(), number()).prop_map(
        |(number, previous, account, mailbox, modseq)| RecordHeader {
            number,
            previous,
            account,
            mailbox,
            modseq,
        },
    )
}

pub(super) fn segment_header() -> impl Strategy<Value = SegmentHeader> {
    let numbers = (number(), number(), number(), number());
    let kinds = (any::<bool>(), any::<bool>(), any::<(u32, u32)>());
    (any::<[u8; 16]>(), numbers, any::<(u64, i64, u32)>(), kinds).prop_map(
        |(
            store,
            (segment, first_record, first_batch, epoch),
            (salt, created_ms, generation),
            kinds,
        )| {
            let (body, stale, (read_only_safe, ignorable)) = kinds;
            SegmentHeader {
                store: StoreId(store),
                segment,
                generation,
                salt,
                first_record,
                first_batch,
                epoch,
                created_ms,
                holds: if body { Holds::Body } else { Holds::Batches },
                behind: if stale { Behind::Stale } else { Behind::Zeroes },
                features: Features {
                    must_know: 0,
                    read_only_safe,
                    ignorable,
                },
            }
        },
    )
}

pub(super) fn manifest() -> impl Strategy<Value = Manifest> {
    let member =
        (any::<[u8; 16]>(), any::<bool>(), number()).prop_map(|(volume, stale, since_batch)| {
            Member {
                volume,
                state: if stale {
                    MemberState::Stale
                } else {
                    MemberState::Current
                },
                since_batch,
            }
        });
    let ids = any::<([u8; 16], [u8; 16], [u8; 16])>();
    let numbers = (number(), number(), number(), number(), number());
    let rest = any::<(u32, i64, bool, u32)>();
    (ids, numbers, rest, prop::collection::vec(member, 1..=16)).prop_map(
        |(
            (store, volume, nonce),
            numbers,
            (edits_chain, created_ms, clean, ignorable),
            members,
        )| Manifest {
            store: StoreId(store),
            volume,
            generation: numbers.0,
            epoch: numbers.1,
            nonce,
            next_record: numbers.2,
            durable_batch: numbers.3,
            edits: numbers.4,
            edits_chain,
            created_ms,
            clean,
            features: Features {
                ignorable,
                ..Features::default()
            },
            members,
        },
    )
}

pub(super) fn edit() -> impl Strategy<Value = Edit> {
    let what = prop_oneof![
        Just(What::Created),
        Just(What::Ended),
        Just(What::Sealed),
        Just(What::Body),
        Just(What::Dropped)
    ];
    (
        what,
        (number(), number(), number(), number(), number()),
        any::<(u32, u64)>(),
    )
        .prop_map(|(what, numbers, (generation, salt))| Edit {
            what,
            segment: numbers.0,
            generation,
            first_record: numbers.1,
            first_batch: numbers.2,
            end: numbers.3,
            next_record: numbers.4,
            salt,
        })
}

pub(super) fn body_header() -> impl Strategy<Value = BodyHeader<'static>> {
    let len = prop_oneof![
        Just(0),
        Just(1),
        Just(65_536),
        Just(65_537),
        0..200_000_usize
    ];
    let owners = prop::collection::vec(account(), 0..5);
    (
        any::<(u64, u32, u32)>(),
        len,
        any::<(u32, u32)>(),
        account(),
        owners,
    )
        .prop_map(
            |((number, mailbox, uid), len, (key, raw_len), account, owners)| BodyHeader {
                number,
                account,
                mailbox,
                uid,
                stored_len: u32::try_from(len).unwrap(),
                raw_len: if key == 0 {
                    u32::try_from(len).unwrap()
                } else {
                    raw_len
                },
                key,
                codec: Codec::Plain,
                owners: owners.into(),
                chunks: body::chunk_checksums(&vec![7; len]).into(),
            },
        )
}
