/** Colours of numbers in a grid: what is nothing looks like the page, what is much stands out; told apart by the colour-blind. */

import type { Quantity } from '../protocol';

export type Rgb = readonly [red: number, green: number, blue: number];

/** `low` has the colour of the page; it may be the larger end. */
export interface Heat {
  kind: Quantity['scale'];
  low: number;
  high: number;
}

// one hue whose lightness falls evenly; blue below against orange above, which no common colour blindness confuses
const STOPS = {
  light: {
    sequential: ['#f4f6f8', '#c3d9ec', '#7fb2d9', '#3a83bd', '#0d5a94', '#06335a'],
    diverging: ['#063f70', '#1f6fae', '#7fb2d9', '#c3d9ec', '#f4f6f8', '#fbdcbd', '#f0a35e', '#d55e00', '#7a3300']
  },
  dark: {
    sequential: ['#1b1f24', '#123a5a', '#175d91', '#2f86c4', '#6fb6ea', '#d3ebff'],
    diverging: ['#cfe8ff', '#5fa9e2', '#1d69a3', '#12395a', '#1b1f24', '#5f3710', '#b9561c', '#f0935e', '#ffd9b0']
  }
} as const;

const STEPS = 512;
/** On this luminance black and white can be read equally well. */
const EVEN = 0.179;

function parse(hex: string): Rgb {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function mix(stops: readonly Rgb[], share: number): Rgb {
  const at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const index = Math.min(Math.floor(at), stops.length - 2);
  const [low, high] = [stops[index] ?? [0, 0, 0], stops[index + 1] ?? [0, 0, 0]];
  const channel = (i: 0 | 1 | 2): number => Math.round(low[i] + (high[i] - low[i]) * (at - index));
  return [channel(0), channel(1), channel(2)];
}

/** The colours of a scale in a theme, ready to be looked up. */
export class Colours {
  private readonly words = new Uint32Array(STEPS);
  private readonly light = new Uint8Array(STEPS);

  constructor(
    readonly heat: Heat,
    dark: boolean
  ) {
    const stops = STOPS[dark ? 'dark' : 'light'][heat.kind === 'diverging' ? 'diverging' : 'sequential'].map(parse);
    for (let step = 0; step < STEPS; step += 1) {
      const [red, green, blue] = mix(stops, step / (STEPS - 1));
      // what is read as one number is little-endian on every machine that runs a browser
      this.words[step] = (red | (green << 8) | (blue << 16) | (255 << 24)) >>> 0;
      this.light[step] = Number(luminance([red, green, blue]) > EVEN);
    }
  }

  /** Where a value lies on the scale, 0 to 1; the ends stand for all that lies beyond. */
  share(value: number): number {
    const { kind, low, high } = this.heat;
    const of = (number: number): number => (kind === 'log' ? Math.log(number) : number);
    return high === low ? 0.5 : Math.min(1, Math.max(0, (of(value) - of(low)) / (of(high) - of(low))));
  }

  /** A pixel of this colour; nothing at all where there is no value. */
  pixel(value: number): number {
    return value === value ? (this.words[this.step(value)] ?? 0) : 0;
  }

  /** The ink that can be read on it. */
  ink(value: number): string {
    return this.light[this.step(value)] === 1 ? '#000000' : '#ffffff';
  }

  css(value: number): string {
    return cssOf(this.words[this.step(value)] ?? 0);
  }

  /** The scale from its lower to its upper end as a CSS gradient. */
  gradient(): string {
    const colours = Array.from({ length: 17 }, (_, i) => cssOf(this.words[Math.round((i * (STEPS - 1)) / 16)] ?? 0));
    return `linear-gradient(to right, ${colours.join(', ')})`;
  }

  private step(value: number): number {
    return Math.round(this.share(value) * (STEPS - 1));
  }
}

function cssOf(word: number): string {
  return `rgb(${word & 255} ${(word >> 8) & 255} ${(word >> 16) & 255})`;
}

/** Relative luminance, as WCAG defines it. */
export function luminance(rgb: Rgb): number {
  const [r, g, b] = rgb.map(channel => {
    const share = channel / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (r ?? 0) + 0.7152 * (g ?? 0) + 0.0722 * (b ?? 0);
}

function unsigned(size: number): string {
  if (size === 0 || !Number.isFinite(size)) {
    return size === 0 ? '0' : '∞';
  }
  if (size >= 1e6 || size < 1e-3) {
    return size.toExponential(1).replace('e+', 'e').replace('e-', 'e−');
  }
  return String(size >= 100 ? Math.round(size) : Number(size.toPrecision(3)));
}

/** A number as short as a cell wants it: three digits that matter, a true minus sign, nothing where there is none. */
export function short(value: number): string {
  if (Number.isNaN(value)) {
    return '';
  }
  const size = Math.abs(value);
  return value < 0 ? `−${unsigned(size)}` : unsigned(size);
}

/** The same with its sign in any case, for a difference. */
export function signed(value: number): string {
  return value > 0 ? `+${short(value)}` : short(value);
}

/** A number as a cell of a scale shows it: as many digits as its colour tells apart, the same in all cells. */
export function inCell(value: number, { kind, low, high }: Heat): string {
  const end = Math.max(Math.abs(low), Math.abs(high));
  if (kind === 'log' || end === 0 || end >= 1000 || end < 1e-3) {
    return kind === 'diverging' ? signed(value) : short(value);
  }
  if (Number.isNaN(value)) {
    return '';
  }
  const text = Math.abs(value).toFixed(Math.max(0, 2 - Math.floor(Math.log10(end))));
  const sign = Number(text) === 0 ? '' : value < 0 ? '−' : kind === 'diverging' ? '+' : '';
  return Number(text) === 0 ? '0' : sign + text;
}

/** The end of a scale that holds a number: 1, 2 or 5 times a power of ten. A scale that follows a hand jumps rarely. */
export function roundUp(value: number): number {
  if (!(value > 0) || !Number.isFinite(value)) {
    return 1;
  }
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map(by => by * power).find(end => end >= value * 0.999) ?? 10 * power;
}
