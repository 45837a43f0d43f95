//! Damage to a set of files, as an input says: each edit is a few bytes, so that a fuzzer can put edits together.

use super::input::Input;
use super::sample::Files;

const SECTOR: usize = 512;
/// No file grows beyond this.
const LEN_MAX: usize = 1 << 20;

/// Applies the edits that `input` holds to the files that `choose` takes.
pub(crate) fn apply(files: &mut Files, input: &mut Input<'_>, choose: impl Fn(&str) -> bool) {
    let names: Vec<String> = files.keys().filter(|name| choose(name)).cloned().collect();
    let original = files.clone();
    for _ in 0..64 {
        if input.is_empty() || names.is_empty() {
            return;
        }
        let kind = input.byte();
        let name = &names[usize::from(input.byte()) % names.len()];
        let at = input.word() as usize;
        let len = files.get(name).map_or(0, Vec::len);
        let sectors = len.div_ceil(SECTOR).max(1);
        match kind % 12 {
            0 => change(files, name, |content| {
                let bits = (content.len() * 8).max(1);
                if let Some(byte) = content.get_mut(at % bits / 8) {
                    *byte ^= 1 << (at % 8);
                }
            }),
            1 | 2 => {
                let count = usize::from(input.byte());
                let bytes = input.take(count);
                change(files, name, |content| put(content, at % len.max(1), bytes));
            }
            3 => change(files, name, |content| {
                let from = at % sectors * SECTOR;
                put(content, from, &vec![0; SECTOR.min(len - from.min(len))]);
            }),
            4 => change(files, name, |content| content.truncate(at % len.max(1))),
            5 => change(files, name, |content| {
                let more = (at % 8192).min(LEN_MAX.saturating_sub(content.len()));
                content.resize(content.len() + more, 0);
            }),
            6 => {
                files.remove(name);
            }
            // A sector of this file as it was, or of another one.
            7 => {
                let other = &names[usize::from(input.byte()) % names.len()];
                let source = &original[other];
                let from = input.word() as usize % source.len().div_ceil(SECTOR).max(1) * SECTOR;
                let bytes = &source[from.min(source.len())..(from + SECTOR).min(source.len())];
                change(files, name, |content| {
                    put(content, at % sectors * SECTOR, bytes)
                });
            }
            8 => {
                let other = &names[usize::from(input.byte()) % names.len()];
                files.insert(name.clone(), original[other].clone());
            }
            9 => {
                let other = names[usize::from(input.byte()) % names.len()].clone();
                let (one, two) = (files.remove(name), files.remove(&other));
                files.extend(two.map(|content| (name.clone(), content)));
                files.extend(one.map(|content| (other, content)));
            }
            // A name that does not belong here, or not with this content.
            10 => {
                let folder = name.split_once('/').map_or("", |(folder, _)| folder);
                let text: String = input.take(12).iter().map(|byte| printable(*byte)).collect();
                if !text.is_empty() && !matches!(&*text, "." | "..") {
                    let new = if folder.is_empty() {
                        text
                    } else {
                        format!("{folder}/{text}")
                    };
                    let content = files.get(name).cloned().unwrap_or_default();
                    files.entry(new).or_insert(content);
                }
            }
            // A number in its place: what headers are made of.
            _ => {
                let number = u64::from(input.word()) << (input.byte() % 64);
                change(files, name, |content| {
                    put(content, at % len.max(1) / 4 * 4, &number.to_le_bytes());
                });
            }
        }
    }
}

fn printable(byte: u8) -> char {
    match byte % 64 {
        found @ 0..=9 => char::from(b'0' + found),
        found @ 10..=35 => char::from(b'a' + found - 10),
        36 => '.',
        37 => '-',
        found => char::from(b'A' + (found - 38) % 26),
    }
}

fn change(files: &mut Files, name: &str, act: impl FnOnce(&mut Vec<u8>)) {
    if let Some(content) = files.get_mut(name) {
        act(content);
    }
}

/// Overwrites, never beyond the end.
fn put(content: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in content.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
