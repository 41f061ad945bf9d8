//! Which numbers of a row are still free: a bit for each.

const BITS: u32 = u64::BITS;

/// Numbers from zero, each free until it is taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Free {
    /// A set bit is a free number.
    words: Vec<u64>,
}

impl Free {
    /// The numbers below `count`, all free.
    pub(super) fn new(count: u32) -> Self {
        let mut words = vec![u64::MAX; (count / BITS) as usize];
        match count % BITS {
            0 => {}
            rest => words.push((1 << rest) - 1),
        }
        Self { words }
    }

    /// Takes a number; it may be taken already.
    pub(super) fn take(&mut self, number: u32) {
        if let Some(word) = self.words.get_mut((number / BITS) as usize) {
            *word &= !(1 << (number % BITS));
        }
    }

    /// The free numbers, beginning at `start` and going on from zero after the last.
    pub(super) fn from(&self, start: u32) -> impl Iterator<Item = u32> {
        let (first, bit) = ((start / BITS) as usize, start % BITS);
        let above = u64::MAX << bit;
        let count = self.words.len();
        // The first word comes twice: its upper part at the beginning, its lower part at the end.
        (0..=count).flat_map(move |step| {
            let at = (first + step) % count.max(1);
            let mask = match step {
                0 => above,
                _ if step == count => !above,
                _ => u64::MAX,
            };
            let mut rest = self.words.get(at).copied().unwrap_or_default() & mask;
            std::iter::from_fn(move || {
                let bit = Some(rest.trailing_zeros()).filter(|bit| *bit < BITS)?;
                rest &= rest - 1;
                Some(u32::try_from(at).unwrap_or(u32::MAX) * BITS + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_free_number_comes_once_in_its_turn(
            count in 1..300_u32,
            taken in prop::collection::vec(0..320_u32, 0..300),
            start in 0..300_u32,
        ) {
            let start = start % count;
            let mut free = Free::new(count);
            for number in &taken {
                free.take(*number);
            }
            let expected: Vec<u32> =
                (0..count).map(|step| (start + step) % count).filter(|number| !taken.contains(number)).collect();
            prop_assert_eq!(free.from(start).collect::<Vec<u32>>(), expected);
        }
    }

    #[test]
    fn of_nothing_nothing_is_free() {
        assert_eq!(Free::new(0).from(0).count(), 0);
    }
}
