//! The state machine of exchanges and pins: random histories, against servers that know which cursor and transaction is whose.

use super::run;
use crate::pool::exchange::model;

#[test]
fn pins_hold_in_every_history() {
    run(|random| {
        let is_sharded = random.is_one_in(2);
        let length = random.below(1500);
        let history =
            (0..length).map(|_| (u8::try_from(random.below(33)).unwrap(), random.below(1000), random.below(1000)));
        model::run(is_sharded, history);
    });
}
