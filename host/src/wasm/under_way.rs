//! The answers that are under way on a connection.
//!
//! hyper asks an answer's body for more only when the client takes what there is: of a client that takes nothing, no timer inside the
//! body would ever hear. So the connection, which has a timer that ticks anyway, looks at them.

use std::{
    cell::RefCell,
    fmt,
    rc::{Rc, Weak},
    time::Duration,
};

use tokio::time::Instant;

/// An answer that is under way.
pub trait UnderWay {
    /// Looks at it, and gives up what it holds of the upstream where its time is over, or its client has taken nothing for as long as `idle`, which
    /// its route may know better. Since when it has been given up.
    fn look(&self, idle: Duration, now: Instant) -> Option<Instant>;
}

/// Those of one connection.
#[derive(Default)]
pub struct Answers(RefCell<Vec<Weak<dyn UnderWay>>>);

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answers").field(&self.0.borrow().len()).finish()
    }
}

impl Answers {
    /// One begins.
    pub fn begin<A: UnderWay + 'static>(&self, answer: &Rc<A>) {
        let answer: Weak<dyn UnderWay> = Rc::<A>::downgrade(answer);
        self.0.borrow_mut().push(answer);
    }

    /// One is over, if it had begun.
    pub fn end<A>(&self, answer: &Rc<A>) {
        let mut answers = self.0.borrow_mut();
        // The last is most often the one.
        let at = answers.iter().rposition(|other| std::ptr::addr_eq(other.as_ptr(), Rc::as_ptr(answer)));
        if let Some(at) = at {
            answers.swap_remove(at);
        }
    }

    /// Looks at all. Since when the first that is still here has been given up.
    pub fn look(&self, idle: Duration, now: Instant) -> Option<Instant> {
        // Nothing of a look may find this list borrowed: what it lets go of may end other streams.
        let answers = self.0.borrow().clone();
        answers.iter().filter_map(Weak::upgrade).filter_map(|answer| answer.look(idle, now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(Option<Instant>);

    impl UnderWay for Given {
        fn look(&self, _: Duration, _: Instant) -> Option<Instant> {
            self.0
        }
    }

    #[test]
    fn the_first_that_was_given_up_counts_until_it_ends() {
        let now = Instant::now();
        let idle = Duration::ZERO;
        let [fine, late, later] = [None, Some(now), Some(now + Duration::from_secs(1))].map(|at| Rc::new(Given(at)));
        let answers = Answers::default();
        for answer in [&later, &fine, &late] {
            answers.begin(answer);
        }
        assert_eq!(answers.look(idle, now), late.0);
        answers.end(&late);
        assert_eq!(answers.look(idle, now), later.0);
        answers.end(&later);
        answers.end(&later);
        assert_eq!((answers.look(idle, now), answers.0.borrow().len()), (None, 1));
    }
}
