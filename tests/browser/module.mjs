// A WebAssembly module that traps on every request, with names for its backtrace; made here, so that nothing has to be built for it.
const leb = (number) => { const bytes = []; do { bytes.push((number & 0x7f) | (number > 0x7f ? 0x80 : 0)); number >>>= 7; } while (number); return bytes; };
const vector = (items) => [...leb(items.length), ...items.flat()];
const text = (string) => vector([...Buffer.from(string)].map((byte) => [byte]));
const section = (id, content) => [id, ...leb(content.length), ...content];
const code = (...body) => { const whole = [0, ...body, 0x0b]; return [...leb(whole.length), ...whole]; };

export function trapping() {
  const I32 = 0x7f;
  const types = [[0x60, ...vector([]), ...vector([])], [0x60, ...vector([[I32]]), ...vector([[I32]])], [0x60, ...vector([[I32], [I32], [I32]]), ...vector([[I32]])]];
  const names = ["proxy_abi_version_0_2_1", "proxy_on_memory_allocate", "proxy_on_request_headers", "shop::price_of_nothing"];
  const exported = names.slice(0, 3).map((name, index) => [...text(name), 0, index]);
  return Buffer.from([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, vector(types)),
    ...section(3, vector([[0], [1], [2], [0]])),
    ...section(5, vector([[0, 1]])),
    ...section(7, vector([...exported, [...text("memory"), 2, 0]])),
    // The third calls the fourth, which cannot go on.
    ...section(10, vector([code(), code(0x41, 0x80, 0x08), code(0x10, 3, 0x41, 0), code(0x00)])),
    ...section(0, [...text("name"), ...section(1, vector(names.map((name, index) => [index, ...text(name)])))]),
  ]);
}
