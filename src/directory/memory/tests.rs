use super::*;

fn key(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

fn create(number: u64, account: u8, name: &str) -> (RecordHeader, Change) {
    let header = RecordHeader {
        number,
        previous: 0,
        account: key(account),
        mailbox: 0,
        modseq: 1,
    };
    let name = name.into();
    let change = Change::CreateAccount {
        name,
        uid_validity_mark: 0,
    };
    (header, change)
}

fn noted(memory: &mut Memory, (header, change): (RecordHeader, Change)) {
    memory.note(&header, &change, &Fences::default());
}

/// Goal: rows that a flush writes are found all the while, under what came since.
#[test]
fn frozen_rows_are_found() {
    let mut memory = Memory::default();
    noted(&mut memory, create(1, 1, "anna"));
    noted(&mut memory, create(2, 2, "bert"));
    let frozen = memory.freeze();
    assert_eq!((frozen.len(), memory.bytes()), (2, 0));
    let mut newer = Row::new(key(1));
    newer.last_record = 5;
    newer.modseq = 9;
    memory.put(newer);
    let found = memory.get(&key(1)).unwrap();
    assert_eq!(
        (found.name.as_deref(), found.modseq, found.last_record),
        (Some("anna"), 9, 5)
    );
    assert_eq!(memory.get(&key(2)).unwrap().name.as_deref(), Some("bert"));
    assert_eq!(memory.get(&key(3)), None);
    memory.release(vec![frozen[&key(2)].clone()]);
    assert_eq!(memory.get(&key(1)).unwrap().name, None);
    assert_eq!(memory.get(&key(2)).as_ref(), frozen.get(&key(2)));
    assert_eq!(memory.freeze().len(), 2);
}

#[test]
fn a_failed_flush_loses_nothing() {
    let mut memory = Memory::default();
    noted(&mut memory, create(1, 1, "anna"));
    noted(&mut memory, create(2, 2, "bert"));
    let bytes = memory.bytes();
    memory.freeze();
    let mut newer = Row::new(key(1));
    newer.last_record = 5;
    memory.put(newer);
    memory.restore();
    assert_eq!(memory.bytes(), bytes);
    let found = memory.get(&key(1)).unwrap();
    assert_eq!(
        (found.name.as_deref(), found.last_record),
        (Some("anna"), 5)
    );
    assert_eq!(memory.freeze().len(), 2);
}

#[test]
fn size_follows_the_rows() {
    let mut memory = Memory::default();
    noted(&mut memory, create(1, 1, "a"));
    let short = memory.bytes();
    let mut longer = memory.get(&key(1)).unwrap();
    longer.name = Some("a".repeat(101).into());
    memory.put(longer.clone());
    assert_eq!(memory.bytes(), short + 100);
    memory.put(longer);
    assert_eq!(memory.bytes(), short + 100);
}

#[test]
fn ranges_have_both_ends_and_a_limit() {
    let mut memory = Memory::default();
    (1..=5).for_each(|at| noted(&mut memory, create(at, u8::try_from(at).unwrap(), "x")));
    let keys = |first, last, limit| -> Vec<AccountId> {
        let [_, live] = memory.range(key(first), key(last), limit);
        live.iter().map(|row| row.key).collect()
    };
    assert_eq!(keys(2, 4, 9), [key(2), key(3), key(4)]);
    assert_eq!(keys(0, 9, 2), [key(1), key(2)]);
    assert_eq!(keys(4, 2, 9), []);
}
