//! The boots of a machine before its last one: each had a script, and may check in for a while yet.

use smallvec::SmallVec;

use super::Session;
use crate::model::token::Token;

/// How many there are at most: a script that somebody only looked at must not make the boot under way look lost.
pub(in crate::fleet) const MAX_EARLIER: usize = 3;

/// The boots before. They lie within their machine, as a ring, so that a script touches little memory: of a large fleet
/// hardly anything is in a cache.
#[derive(Debug, Clone, Default)]
pub struct EarlierBoots {
    kept: SmallVec<[Session; MAX_EARLIER]>,
    /// The place of the oldest when there are as many as can be; the first one otherwise. The others follow by age.
    oldest: usize,
}

impl EarlierBoots {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The boots, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        let (newer, older) = self.kept.split_at(self.oldest);
        newer.iter().rev().chain(older.iter().rev())
    }

    /// The boots, in any order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.kept.iter_mut()
    }

    /// Adds one that is newer than all others; the one that is too many then.
    pub(super) fn push(&mut self, session: Session) -> Option<Session> {
        if self.kept.len() < MAX_EARLIER {
            self.kept.push(session);
            return None;
        }
        let over = std::mem::replace(self.kept.get_mut(self.oldest)?, session);
        self.oldest = (self.oldest + 1) % MAX_EARLIER;
        Some(over)
    }

    /// Adds one that is older than all others, if there is room.
    pub(in crate::fleet) fn push_older(&mut self, session: Session) {
        if self.kept.len() < MAX_EARLIER {
            self.kept.insert(0, session);
        }
    }

    /// Takes out the one that has this token.
    pub(super) fn take(&mut self, token: Token) -> Option<Session> {
        self.straighten();
        let place = self.kept.iter().position(|session| session.token == Some(token))?;
        Some(self.kept.remove(place))
    }

    /// The boots, newest first.
    pub(super) fn into_newest_first(mut self) -> impl Iterator<Item = Session> {
        self.straighten();
        self.kept.into_iter().rev()
    }

    /// Puts the oldest one first.
    fn straighten(&mut self) {
        self.kept.rotate_left(self.oldest);
        self.oldest = 0;
    }
}

impl PartialEq for EarlierBoots {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::boot::Step;
    use crate::model::token::tests::token;

    fn session(number: u64) -> Session {
        Session { token: Some(token(number)), turn: number, ..Session::begin(Step::Script, SystemTime::UNIX_EPOCH) }
    }

    fn turns(earlier: &EarlierBoots) -> Vec<u64> {
        earlier.iter().map(|session| session.turn).collect()
    }

    #[test]
    fn the_newest_ones_are_kept_in_their_order_whatever_was_taken_out() {
        let mut earlier = EarlierBoots::default();
        for number in 1..=5 {
            let over = earlier.push(session(number)).map(|session| session.turn);
            assert_eq!(over, number.checked_sub(3).filter(|over| *over > 0));
        }
        assert_eq!(turns(&earlier), [5, 4, 3]);
        assert_eq!((earlier.take(token(2)), turns(&earlier)), (None, vec![5, 4, 3]));
        assert_eq!(earlier.take(token(4)).map(|session| session.turn), Some(4));
        assert_eq!(turns(&earlier), [5, 3]);
        earlier.push_older(session(1));
        earlier.push_older(session(0));
        assert_eq!(turns(&earlier), [5, 3, 1], "there was room for one");
        assert_eq!(earlier.push(session(6)).map(|session| session.turn), Some(1));
        let mut straight = EarlierBoots::default();
        [3, 5, 6].into_iter().for_each(|number| drop(straight.push(session(number))));
        assert_eq!(earlier, straight);
        assert_eq!(earlier.into_newest_first().map(|session| session.turn).collect::<Vec<_>>(), [6, 5, 3]);
    }
}
