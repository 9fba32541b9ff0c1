/** Numbers of 16 bits, as Python sends patterns: half the bytes, three digits that matter. */

let table: Float32Array | null = null;

function valueOf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 31) {
    return fraction === 0 ? sign * Infinity : NaN;
  }
  return exponent === 0 ? sign * 2 ** -24 * fraction : sign * 2 ** (exponent - 25) * (1024 + fraction);
}

/** Little-endian halves as numbers. There are only 65,536 of them: each is worked out once. */
export function fromHalves(bytes: Uint8Array): Float32Array {
  table ??= Float32Array.from({ length: 0x10000 }, (_, half) => valueOf(half));
  const halves = new Uint16Array(bytes.slice().buffer);
  const values = new Float32Array(halves.length);
  for (let at = 0; at < halves.length; at += 1) {
    values[at] = table[halves[at] ?? 0] ?? NaN;
  }
  return values;
}
