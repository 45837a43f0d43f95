use proptest::prelude::*;

use super::*;

fn key(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

fn page(rows: &[Row]) -> RowsPage {
    let mut out = RowsOut::default();
    assert!(rows.iter().all(|row| out.push(row)));
    RowsPage::new(out.take().into()).unwrap()
}

/// A row with something in every column.
fn full(number: u8) -> Row {
    Row {
        kind: Kind::Account,
        complete: true,
        exists: Some(true),
        name: Some("anna@example.it".into()),
        last_record: 1,
        records: 2,
        modseq: 3,
        next_email: 4,
        next_mailbox: 5,
        uid_validity_mark: 6,
        inbox: Inbox {
            uid_validity: 7,
            uid_next: 8,
        },
        opaque: true,
        fence: 9,
        skipped: 10,
        assigned: 11,
        past_floor: 12,
        image: Some(ImageAt {
            file: 13,
            offset: 14,
            len: 15,
            record: 16,
        }),
        ..Row::new(key(number))
    }
}

/// Goal: each column comes back, at its bounds too.
#[test]
fn rows_come_back() {
    let spent = Row {
        exists: Some(false),
        name: Some("\u{e9}".repeat(AccountName::LEN_MAX / 2).into()),
        next_mailbox: U32_NEXT_MAX,
        inbox: Inbox {
            uid_validity: u32::MAX,
            uid_next: U32_NEXT_MAX,
        },
        next_email: u64::MAX,
        skipped: u64::MAX,
        image: None,
        ..full(2)
    };
    let almost = Row {
        next_mailbox: U32_NEXT_MAX - 1,
        inbox: Inbox {
            uid_validity: 0,
            uid_next: U32_NEXT_MAX - 1,
        },
        name: Some("".into()),
        ..full(3)
    };
    let alias = Row::alias(key(4), key(9), 77);
    let mut deferred = [5; 16];
    deferred[8..].fill(0xff);
    let deferred = Row::new(AccountId::from_bytes(deferred));
    let rows = [full(1), spent, almost, alias, deferred];
    let page = page(&rows);
    assert_eq!(page.rows_from(0).unwrap(), rows);
    assert_eq!(page.row(3).unwrap(), rows[3]);
    assert_eq!(page.rank(&key(0)).unwrap(), 0);
    assert_eq!(page.rank(&key(3)).unwrap(), 2);
    assert_eq!(page.rank(&key(0xff)).unwrap(), 5);
}

/// Goal: a page takes as many rows as fit and not one byte more; 150 bytes for an account are enough.
#[test]
fn a_page_is_filled_to_the_brim() {
    let mut out = RowsOut::default();
    let row = Row {
        name: Some("somebody@example.invalid".into()),
        ..full(1)
    };
    let mut rows = 0;
    while out.push(&row) {
        rows += 1;
    }
    let len = out.take().len();
    assert_eq!(rows, (CONTENT - HEAD) / (WIDTH + 24));
    assert!(len <= CONTENT);
    assert!(crate::format::PAGE / rows < 146);
    assert_eq!(out.count(), 0);
}

/// Goal: what cannot have been written is refused, each under its name.
#[test]
fn rows_that_contradict_themselves_are_refused() {
    let mut out = RowsOut::default();
    out.push(&full(1));
    let sound = out.take();
    let fault = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound.clone();
        change(&mut bytes);
        let read = RowsPage::new(bytes.into()).and_then(|page| page.rows_from(0));
        read.unwrap_err().to_string()
    };
    let flags = HEAD + WIDTH - 4;
    assert!(fault(&|bytes| bytes[0] = 0).starts_with("count of a page is 0"));
    assert!(fault(&|bytes| bytes[0] = 200).starts_with("count of a page is 200"));
    assert!(fault(&|bytes| bytes[2] = 1).contains("reserved"));
    assert!(fault(&|bytes| bytes[HEAD + 23] = 0x80).starts_with("record number"));
    assert!(fault(&|bytes| bytes[flags + 1] |= 0x80).starts_with("flags of a row"));
    assert!(fault(&|bytes| bytes[flags] |= 3).starts_with("kind of a row is 3"));
    assert!(fault(&|bytes| bytes[flags + 1] |= 1).starts_with("the lower half"));
    assert!(fault(&|bytes| bytes[flags] &= !0x80).contains("reserved"));
    assert!(fault(&|bytes| bytes[flags + 3] = 9).starts_with("name length"));
    assert!(fault(&|bytes| bytes[HEAD + WIDTH] = 0xff).starts_with("account name"));
    assert!(fault(&|bytes| bytes.truncate(HEAD + WIDTH + 3)).contains("are needed"));
}

/// Goal: the page index says for each key which page of rows has it.
#[test]
fn the_page_index_finds_each_key() {
    let many = INDEX_KEYS as usize + 3;
    let number = |at: usize| u128::try_from(at).unwrap() * 2 + 2;
    let id = |number: u128| AccountId::from_bytes(number.swap_bytes().to_le_bytes());
    let keys: Vec<AccountId> = (0..many).map(|at| id(number(at))).collect();
    let pages: Vec<Vec<u8>> = index_pages(&keys).collect();
    assert_eq!(pages.len(), 2);
    assert!(pages.iter().all(|page| page.len() <= CONTENT));
    let first = |key| index_search(&pages[0], INDEX_KEYS, false, &key).unwrap();
    assert_eq!(first(id(1)), At::Before);
    assert_eq!(first(id(2)), At::Here(0));
    assert_eq!(first(id(3)), At::Here(0));
    let end = number(INDEX_KEYS as usize);
    assert_eq!(first(id(end - 1)), At::Here(INDEX_KEYS - 1));
    assert_eq!(first(id(end)), At::Behind);
    let last = |key| index_search(&pages[1], 3, true, &key).unwrap();
    assert_eq!(last(id(end - 1)), At::Before);
    assert_eq!(last(id(u128::MAX)), At::Here(2));
    assert!(index_search(&pages[1], 4, true, &id(9)).is_err());
    assert!(index_search(&pages[1][..30], 3, true, &id(9)).is_err());
}

proptest! {
    /// Goal: no bytes make reading a page panic.
    #[test]
    fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..600), count in 0_u8..6) {
        if let Some(at) = bytes.first_mut() {
            *at = count;
        }
        bytes.iter_mut().skip(1).take(3).for_each(|byte| *byte = 0);
        let _ = index_search(&bytes, count.into(), false, &key(7));
        if let Ok(page) = RowsPage::new(bytes.into()) {
            let _ = page.rank(&key(7));
            let _ = page.rows_from(0);
        }
    }
}
