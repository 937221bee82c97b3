//! The allocator of a filter: free lists for what filters allocate all the time, the system's allocator for everything else.
//!
//! Every value that a host returns is an allocation of the guest's. WASI's allocator takes tens of nanoseconds for a pair of
//! allocation and release, which is as much as the hostcall itself; a list takes two. Sizes up to `LARGEST` are rounded up to
//! a multiple of 16 and kept, when they are released, for the next one of their size: what is kept is at most what was in use
//! at the same time before.
//!
//! Switch the feature `allocator` off to use another one.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr;

/// Everything above goes to the system.
const LARGEST: usize = 512;
/// Sizes and addresses are multiples of it.
const GRAIN: usize = 16;
/// What is asked of the system at once, to be cut up.
const CHUNK: usize = 16 * 1024;
const CLASSES: usize = LARGEST / GRAIN;
/// What is there from the start. A filter's value and what finds it are allocated first and needed in every call; here they lie in the
/// page of the lists, and a page that a call need not touch is one that the processor need not look up.
const FIRST: usize = 1024;

#[derive(Debug)]
#[repr(align(16))]
struct First(UnsafeCell<[u8; FIRST]>);

/// The allocator.
#[derive(Debug)]
pub struct Allocator {
    /// By size: the first free block, which holds the address of the next one.
    free: [Cell<*mut u8>; CLASSES],
    /// What is left of the last chunk.
    rest: Cell<*mut u8>,
    left: Cell<usize>,
    first: First,
}

// SAFETY: modules for wasm32-wasip1 have one thread; nothing can use the lists at the same time as anything else.
#[cfg(target_arch = "wasm32")]
unsafe impl Sync for Allocator {}

impl Allocator {
    /// Nothing kept yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            free: [const { Cell::new(ptr::null_mut()) }; CLASSES],
            rest: Cell::new(ptr::null_mut()),
            left: Cell::new(0),
            first: First(UnsafeCell::new([0; FIRST])),
        }
    }

    /// The list of a layout; `None` for what goes to the system.
    #[inline]
    fn list(&self, layout: Layout) -> Option<(&Cell<*mut u8>, usize)> {
        if layout.align() > GRAIN {
            return None;
        }
        // Zero sizes are not asked for; were they, they would find no list and go to the system.
        let class = layout.size().wrapping_sub(1) / GRAIN;
        Some((self.free.get(class)?, (class + 1) * GRAIN))
    }

    #[cold]
    fn cut(&self, size: usize) -> *mut u8 {
        if self.rest.get().is_null() {
            self.rest.set(self.first.0.get().cast());
            self.left.set(FIRST);
        }
        if self.left.get() < size {
            // What is left of the old chunk is less than any of the next requests of this size; it is lost, once per chunk.
            let Ok(layout) = Layout::from_size_align(CHUNK, GRAIN) else { return ptr::null_mut() };
            // SAFETY: the layout's size is not zero.
            let chunk = unsafe { System.alloc(layout) };
            if chunk.is_null() {
                return chunk;
            }
            self.rest.set(chunk);
            self.left.set(CHUNK);
        }
        let block = self.rest.get();
        self.left.set(self.left.get() - size);
        // SAFETY: `left` said that at least `size` bytes of the chunk follow `rest`.
        self.rest.set(unsafe { block.add(size) });
        block
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: a block comes from the system, or from `first` or a chunk of the system's that is never given back; it is aligned to `GRAIN`, because
// chunks are and all sizes are multiples of it; it is handed out to one owner at a time, because it leaves its list (or the
// chunk) then and returns to a list only when it is released; its layout says which list, the same one each time.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((list, size)) = self.list(layout) else {
            // SAFETY: the caller's promise about the layout.
            return unsafe { System.alloc(layout) };
        };
        let block = list.get();
        if block.is_null() {
            return self.cut(size);
        }
        // SAFETY: a block in a list is free, at least `GRAIN` bytes long and aligned for an address, and holds one.
        list.set(unsafe { block.cast::<*mut u8>().read() });
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((list, _)) = self.list(layout) else {
            // SAFETY: the caller's promise; this layout went to the system when it was allocated, too.
            return unsafe { System.dealloc(block, layout) };
        };
        // SAFETY: the caller gives the block up; it is at least `GRAIN` bytes long and aligned for an address.
        unsafe { block.cast::<*mut u8>().write(list.get()) };
        list.set(block);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(new) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        match (self.list(layout), self.list(new)) {
            // SAFETY: the caller's promise; the system has it, and keeps it.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (Some((_, old)), Some((_, new))) if old == new => block,
            _ => {
                // SAFETY: the caller's promise about the layout's size.
                let copy = unsafe { self.alloc(new) };
                if !copy.is_null() {
                    // SAFETY: both are at least this long, and they are different blocks.
                    unsafe { ptr::copy_nonoverlapping(block, copy, layout.size().min(size)) };
                    // SAFETY: the caller gives the old block up.
                    unsafe { self.dealloc(block, layout) };
                }
                copy
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A live block, its layout, and the byte that it is filled with.
    struct Block(*mut u8, Layout, u8);

    impl Block {
        fn new(allocator: &Allocator, size: usize, align: usize, fill: u8) -> Self {
            let layout = Layout::from_size_align(size, align).unwrap();
            let block = unsafe { allocator.alloc(layout) };
            assert!(!block.is_null() && block.addr() % align == 0);
            unsafe { block.write_bytes(fill, size) };
            Self(block, layout, fill)
        }

        fn is_intact(&self) -> bool {
            unsafe { std::slice::from_raw_parts(self.0, self.1.size()) }.iter().all(|byte| *byte == self.2)
        }
    }

    #[test]
    fn blocks_never_overlap_whatever_is_allocated_released_and_resized() {
        let allocator = Allocator::new();
        let mut blocks: Vec<Block> = Vec::new();
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        for round in 0..20_000 {
            match random(5) {
                0 | 1 => {
                    let most = if random(4) == 0 { 3000 } else { 200 };
                    let size = 1 + random(most);
                    blocks.push(Block::new(&allocator, size, 1 << random(6), u8::try_from(round % 251).unwrap()));
                }
                2 | 3 if !blocks.is_empty() => {
                    let block = blocks.swap_remove(random(blocks.len()));
                    assert!(block.is_intact());
                    unsafe { allocator.dealloc(block.0, block.1) };
                }
                _ if !blocks.is_empty() => {
                    let at = random(blocks.len());
                    let (size, block) = (1 + random(1000), blocks.get_mut(at).unwrap());
                    block.0 = unsafe { allocator.realloc(block.0, block.1, size) };
                    let kept = block.1.size().min(size);
                    block.1 = Layout::from_size_align(kept, block.1.align()).unwrap();
                    assert!(block.is_intact());
                    block.1 = Layout::from_size_align(size, block.1.align()).unwrap();
                    unsafe { block.0.write_bytes(block.2, size) };
                }
                _ => {}
            }
        }
        assert!(blocks.iter().all(Block::is_intact));
        for block in blocks {
            unsafe { allocator.dealloc(block.0, block.1) };
        }
    }

    #[test]
    fn what_was_released_is_used_again() {
        let allocator = Allocator::new();
        let first = Block::new(&allocator, 20, 8, 1);
        let address = first.0;
        unsafe { allocator.dealloc(first.0, first.1) };
        let second = Block::new(&allocator, 32, 1, 2);
        assert_eq!(second.0, address, "20 and 32 bytes are of one size");
        let other = Block::new(&allocator, 33, 1, 2);
        assert_ne!(other.0, address);
        for block in [second, other] {
            unsafe { allocator.dealloc(block.0, block.1) };
        }
    }
}
