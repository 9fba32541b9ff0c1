/** Colours of a column's rows, the same as nbinterp/charts/theme.py gives them in a chart. */

import type { Column } from './protocol';
import { bytesOf } from './selection';
import { DARK, isDark, LIGHT } from './theme';

type Rgb = readonly [red: number, green: number, blue: number];

/** Okabe and Ito's colours (2008) without the black and the yellow, which vanish on one of the two grounds. */
export const OKABE_ITO = ['#0072B2', '#E69F00', '#009E73', '#D55E00', '#56B4E9', '#CC79A7', '#999999'] as const;

/** Marks that tell as many labels apart without their colours. */
export const SHAPES = ['circle', 'square', 'triangle', 'diamond', 'plus', 'wedge', 'cross'] as const;
export type Shape = (typeof SHAPES)[number];

/** Viridis at equal steps: its lightness grows evenly, for the colour-blind as well. */
const VIRIDIS = [
  ...['#440154', '#472878', '#3e4a89', '#31688e', '#25838e'],
  ...['#1e9e89', '#35b779', '#6dcd59', '#b4de2c', '#fde725']
];
/** The part of it that stands out from the ground. */
const SEEN = { light: [0, 0.9], dark: [0.2, 1] } as const;
const STEPS = 256;

function parse(hex: string): Rgb {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function hexOf(rgb: Rgb): string {
  return `#${rgb.map(channel => channel.toString(16).padStart(2, '0')).join('')}`.toUpperCase();
}

/** CIELAB (D65) as sRGB, clipped to what a screen shows. */
function fromLab(lightness: number, a: number, b: number): Rgb {
  const fy = (lightness + 16) / 116;
  const cube = (f: number): number => (f > 6 / 29 ? f ** 3 : 3 * (6 / 29) ** 2 * (f - 4 / 29));
  const [x, y, z] = [cube(fy + a / 500) * 0.95047, cube(fy), cube(fy - b / 200) * 1.08883];
  const encode = (linear: number): number => {
    const clipped = Math.min(1, Math.max(0, linear));
    return Math.round(255 * (clipped <= 0.0031308 ? 12.92 * clipped : 1.055 * clipped ** (1 / 2.4) - 0.055));
  };
  return [
    encode(3.2406 * x - 1.5372 * y - 0.4986 * z),
    encode(-0.9689 * x + 1.8758 * y + 0.0415 * z),
    encode(0.0557 * x - 0.204 * y + 1.057 * z)
  ];
}

/** A colour of the cycle, told apart by lightness and blue against yellow alone; `angle` in radians. */
function cyclicColour(angle: number): Rgb {
  return fromLab(60 - 17 * Math.cos(angle), 38 * Math.cos(2 * angle + 0.6), 52 * Math.sin(angle));
}

/** `n` colours in a cycle, or in a share of it for labels that do not go round. */
export function cyclicPalette(n: number, turn = 1): string[] {
  return Array.from({ length: n }, (_, index) => hexOf(cyclicColour((2 * Math.PI * turn * index) / Math.max(n, 1))));
}

/** A colour for each of `n` labels. */
export function palette(n: number, cyclic: boolean): string[] {
  return !cyclic && n <= OKABE_ITO.length ? OKABE_ITO.slice(0, n) : cyclicPalette(n, cyclic ? 1 : 0.8);
}

/** The scale of numbers at `share`, from 0 to 1. */
function sequential(share: number, dark: boolean): Rgb {
  const [from, to] = dark ? SEEN.dark : SEEN.light;
  const at = (from + (to - from) * Math.min(1, Math.max(0, share))) * (VIRIDIS.length - 1);
  const index = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const [low, high] = [parse(VIRIDIS[index] ?? ''), parse(VIRIDIS[index + 1] ?? '')];
  const mixed = (channel: 0 | 1 | 2): number =>
    Math.round(low[channel] + (high[channel] - low[channel]) * (at - index));
  return [mixed(0), mixed(1), mixed(2)];
}

function scaleColours(column: Column, dark: boolean): Rgb[] {
  return Array.from({ length: STEPS }, (_, step) =>
    column.cyclic ? cyclicColour((2 * Math.PI * step) / STEPS) : sequential(step / (STEPS - 1), dark)
  );
}

/** A column's numbers, `[row]`; NaN where one is missing. */
export function numbersOf(column: Column): Float32Array {
  const bytes = bytesOf(column.values);
  // a message's buffers begin anywhere
  return new Float32Array(bytes.slice().buffer);
}

/** A column's codes, `[row]`; the number of its levels, or more, where one is missing. */
export function codesOf(column: Column): Uint8Array | Uint16Array | Uint32Array {
  const { buffer } = bytesOf(column.values).slice();
  return column.width === 1
    ? new Uint8Array(buffer)
    : column.width === 2
      ? new Uint16Array(buffer)
      : new Uint32Array(buffer);
}

/** Whether each label of a column has a shape of its own. */
export function hasShapes(column: Column | null): boolean {
  return column?.kind === 'label' && column.levels.length > 1 && column.levels.length <= SHAPES.length;
}

/** Red, green, blue and the index of the shape of each of `n` rows. */
export function paint(column: Column | null, n: number, dark = isDark()): Uint8Array {
  const ground = dark ? DARK : LIGHT;
  const rows = new Uint8Array(4 * n);
  // what is read as one number is little-endian on every machine that runs a browser
  const words = new Uint32Array(rows.buffer);
  const word = ([red, green, blue]: Rgb, shape = 0): number =>
    (red | (green << 8) | (blue << 16) | (shape << 24)) >>> 0;
  if (column === null) {
    return new Uint8Array(words.fill(word(parse(ground.turned))).buffer);
  }
  const missing = word(parse(ground.line));
  if (column.kind === 'label') {
    const shapes = hasShapes(column);
    const { length } = column.levels;
    const colours = palette(length, column.cyclic).map((colour, i) => word(parse(colour), shapes ? i : 0));
    const codes = codesOf(column);
    for (let row = 0; row < n; row += 1) {
      words[row] = colours[codes[row] ?? length] ?? missing;
    }
    return rows;
  }
  const colours = scaleColours(column, dark).map(colour => word(colour));
  const numbers = numbersOf(column);
  // a cycle's end is its beginning
  const steps = column.cyclic ? STEPS : STEPS - 1;
  const scale = column.high > column.low ? steps / (column.high - column.low) : 0;
  for (let row = 0; row < n; row += 1) {
    const at = Math.round(((numbers[row] ?? NaN) - column.low) * scale);
    words[row] = colours[column.cyclic ? at % STEPS : at] ?? missing;
  }
  return rows;
}

export interface LegendEntry {
  /** The level's index; -1 for rows without a value. */
  code: number;
  text: string;
  colour: string;
  shape: Shape;
}

/** What the colours of labels mean, one entry a level. */
export function legendEntries(column: Column): LegendEntry[] {
  const colours = palette(column.levels.length, column.cyclic);
  const shapes = hasShapes(column);
  return column.levels.map((text, code) => ({
    code,
    text,
    colour: colours[code] ?? LIGHT.line,
    shape: (shapes ? SHAPES[code] : undefined) ?? 'circle'
  }));
}

/** Colours along the scale of a column of numbers, at equal steps. */
export function scaleStops(column: Column, dark = isDark()): string[] {
  const stops = scaleColours(column, dark).filter((_, index) => index % 15 === 0);
  // a cycle ends in the colour that it begins with
  return (column.cyclic ? [...stops, ...stops.slice(0, 1)] : stops).map(hexOf);
}

/** The scale of a column of numbers as a CSS gradient. */
export function gradient(column: Column, dark = isDark()): string {
  return `linear-gradient(to right, ${scaleStops(column, dark).join(', ')})`;
}
