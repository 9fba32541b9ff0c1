/** Where the text of labels goes, so that it can be read. */

import { nearest, normalise, onCircle, shortestTurn, TURN } from './angles';

export interface Placed {
  x: number;
  y: number;
  anchor: 'start' | 'middle' | 'end';
  /** False where there are so many labels that this one would run into another. */
  shown: boolean;
}

/** Put labels around a circle, text outside. Of more than fit, every k-th keeps its text. */
export function aroundCircle(angles: readonly number[], radius: number, lineHeight = 15): Placed[] {
  const fit = Math.max(1, Math.floor((TURN * radius) / (lineHeight * 1.35)));
  const every = Math.max(1, Math.ceil(angles.length / fit));
  return angles.map((angle, index) => {
    const place = onCircle(angle, radius);
    const sideways = Math.sin(angle);
    return {
      x: place.x,
      // text hangs from its baseline: centre it at the sides, lift it at the top, drop it at the bottom
      y: place.y + lineHeight * (0.3 - 0.3 * Math.cos(angle)),
      anchor: Math.abs(sideways) < 0.2 ? 'middle' : sideways > 0 ? 'start' : 'end',
      shown: index % every === 0
    };
  });
}

/** Every how many labels can be written side by side below an axis. */
export function everyLabel(texts: readonly string[], width: number, characterWidth = 6.4): number {
  const widest = Math.max(1, ...texts.map(text => text.length)) * characterWidth + 10;
  const fit = Math.max(1, Math.floor(width / widest));
  return Math.max(1, Math.ceil(texts.length / fit));
}

export interface Peak {
  index: number;
  x: number;
  y: number;
  width: number;
}

/** Keep, highest first (smallest y), the labels that do not run into one that is kept already. */
export function withoutOverlap(peaks: readonly Peak[], lineHeight = 13, limit = Infinity): Peak[] {
  const kept: Peak[] = [];
  for (const peak of [...peaks].sort((a, b) => a.y - b.y)) {
    const collides = kept.some(
      other => Math.abs(other.x - peak.x) < (other.width + peak.width) / 2 && Math.abs(other.y - peak.y) < lineHeight
    );
    if (!collides && kept.length < limit) {
      kept.push(peak);
    }
  }
  return kept;
}

/** The hand's place in words: the nearest label, and how far it was turned from the start. */
export function place(labels: readonly { text: string; angle: number }[], angle: number): string {
  const index = nearest(
    labels.map(label => label.angle),
    angle
  );
  const label = labels[index];
  if (label === undefined) {
    return `${Math.round((normalise(angle) * 360) / TURN)}°`;
  }
  const off = shortestTurn(label.angle, angle);
  // a third of the way to the next label is still "near"
  const near = Math.abs(off) > TURN / labels.length / 6;
  return near ? `near ${label.text}` : label.text;
}
