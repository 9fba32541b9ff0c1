/**
 * Angles of the dial. Radians everywhere; 0 is at the top and the angle grows clockwise, like a clock.
 * A point of the plane (x, y) has the angle atan2(y, x), so x points up on the screen and y to the right.
 */

export const TURN = 2 * Math.PI;

/** One step of the arrow keys. */
export const STEP = (5 / 360) * TURN;

export interface Point {
  x: number;
  y: number;
}

/** The same angle in [0, 2π). */
export function normalise(angle: number): number {
  const rest = angle % TURN;
  // a tiny negative rest would round up to 2π itself
  const positive = rest < 0 ? rest + TURN : rest;
  return positive >= TURN ? 0 : positive;
}

/** The shortest way from one angle to another, in (-π, π]; positive is clockwise. */
export function shortestTurn(from: number, to: number): number {
  const turn = normalise(to - from);
  return turn > Math.PI ? turn - TURN : turn;
}

/** Whether two angles are the same place on the circle. */
export function sameAngle(a: number, b: number, tolerance = 1e-6): boolean {
  return Math.abs(shortestTurn(a, b)) <= tolerance;
}

/** Where an angle lies on the screen, on a circle around (0, 0). */
export function onCircle(angle: number, radius: number): Point {
  return { x: radius * Math.sin(angle), y: -radius * Math.cos(angle) };
}

/** Where a point of the plane lies on the screen, so that it agrees with `onCircle`. */
export function onScreen(point: Point, radius: number): Point {
  return { x: radius * point.y, y: -radius * point.x };
}

/** The angle of a place on the screen, seen from (0, 0). */
export function angleAt(place: Point): number {
  return normalise(Math.atan2(place.x, -place.y));
}

/** An SVG path along the circle by the shortest way. */
export function arcPath(from: number, to: number, radius: number): string {
  const turn = shortestTurn(from, to);
  const a = onCircle(from, radius);
  const b = onCircle(to, radius);
  return `M${fixed(a.x)} ${fixed(a.y)}A${radius} ${radius} 0 0 ${turn >= 0 ? 1 : 0} ${fixed(b.x)} ${fixed(b.y)}`;
}

/** Index of the label nearest to an angle; -1 where there are none. */
export function nearest(angles: readonly number[], angle: number): number {
  let best = -1;
  let distance = Infinity;
  angles.forEach((candidate, index) => {
    const d = Math.abs(shortestTurn(candidate, angle));
    if (d < distance) {
      best = index;
      distance = d;
    }
  });
  return best;
}

/** The next label clockwise (+1) or counter-clockwise (-1), never the one that the hand is on already. */
export function neighbour(angles: readonly number[], angle: number, direction: 1 | -1): number {
  let best = angle;
  let least = Infinity;
  for (const candidate of angles) {
    const way = normalise(direction * (candidate - angle));
    if (way > 1e-6 && way < TURN - 1e-6 && way < least) {
      best = candidate;
      least = way;
    }
  }
  return normalise(best);
}

/** Where a key moves the hand; null for a key that is not the dial's. */
export function afterKey(key: string, angle: number, labels: readonly number[], start: number): number | null {
  switch (key) {
    case 'ArrowRight':
    case 'ArrowUp':
      return normalise(angle + STEP);
    case 'ArrowLeft':
    case 'ArrowDown':
      return normalise(angle - STEP);
    case 'PageUp':
      return neighbour(labels, angle, 1);
    case 'PageDown':
      return neighbour(labels, angle, -1);
    case 'Home':
    case 'Escape':
      return normalise(start);
    default:
      return null;
  }
}

/** Degrees with a sign: "+90°", "−15°", "0°". */
export function signedDegrees(radians: number): string {
  const degrees = Math.round((radians * 360) / TURN);
  const sign = degrees > 0 ? '+' : degrees < 0 ? '−' : '';
  return `${sign}${Math.abs(degrees)}°`;
}

/** Degrees in [0, 360), to one decimal. */
export function degrees(radians: number): number {
  const rounded = Math.round((normalise(radians) * 3600) / TURN) / 10;
  return rounded >= 360 ? 0 : rounded;
}

/** A coordinate short enough for a path. */
export function fixed(value: number): string {
  return String(Math.round(value * 100) / 100);
}
