//! Bytes of strangers.

use proptest::prelude::*;

use super::{THEN, at, gcra, quota};
use crate::{Charge, Leases, Meter, Operation, Outcome, Table, answer, encode, read_outcome};

fn valid() -> Vec<u8> {
    let meters = [
        Meter::Gcra(gcra("7/s", 9).with_queue(5).with_debt(6)),
        quota("5/d"),
        Meter::Leases(Leases { limit: 4, expiry: 8 }),
    ];
    let mut bytes = Vec::new();
    let charge = Charge { key: b"key", meters: &meters, cost: 2, lease: 3 };
    encode(Operation::Take, &[charge, Charge { key: b"", meters: &[], cost: 1, lease: 0 }], &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn whatever_comes_is_refused_or_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), at_byte in 0..400_usize, flip in any::<u8>()) {
        let table = Table::new(0);
        let mut changed = valid();
        let place = at_byte % changed.len();
        changed[place] ^= flip;
        for arguments in [bytes.clone(), changed] {
            let mut out = Vec::new();
            if answer(&table, &arguments, || at(THEN), &mut out).is_ok() {
                prop_assert!(read_outcome(&out, &mut Outcome::default()).is_ok());
            }
        }
        let _ = read_outcome(&bytes, &mut Outcome::default());
    }

    #[test]
    fn what_is_cut_short_charges_nothing(cut in 0..200_usize) {
        let (table, whole) = (Table::new(0), valid());
        let cut = cut % whole.len();
        prop_assert!(answer(&table, &whole[..cut], || at(THEN), &mut Vec::new()).is_err());
        prop_assert_eq!(table.stats().entries, 0);
    }
}

#[test]
fn nothing_is_charged_for_nothing() {
    let mut out = Vec::new();
    answer(&Table::new(0), &[0; 8], || at(THEN), &mut out).unwrap();
    assert_eq!(out, [1, 0, 0, 0, 0, 0, 0, 0]);
}
