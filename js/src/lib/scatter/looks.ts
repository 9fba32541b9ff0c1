/** How large and how dense the marks are, by how many there are and how near one is. */

/** CSS pixels of a mark: smaller the more there are, larger the nearer one is. */
export function sizeOf(n: number, zoom: number): number {
  const far = Math.min(9, Math.max(1.5, 9 * (300 / Math.max(n, 1)) ** 0.28));
  return Math.min(10, far * zoom ** 0.35);
}

export function alphaOf(n: number, zoom: number): number {
  const far = Math.min(0.85, Math.max(0.3, 0.85 - 0.2 * Math.log10(Math.max(n, 1) / 500)));
  return Math.min(0.85, far * zoom ** 0.25);
}

/** A colour of the theme as a graphics card has it: red, green and blue from 0 to 1. */
export function channels(hex: string): [number, number, number] {
  const value = parseInt(hex.slice(1), 16);
  return [(value >> 16) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
}
