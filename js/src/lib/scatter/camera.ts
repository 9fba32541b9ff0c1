/** What part of the plane is seen, and where a point of it lies on the screen. */

export interface Box {
  x0: number;
  x1: number;
  y0: number;
  y1: number;
}

/** Pixels from data and back: `x · sx + ox`, downwards on the screen. */
export interface Map2 {
  sx: number;
  ox: number;
  sy: number;
  oy: number;
}

/** Ranges that are closer than this are drawn on one scale, so that a circle is a circle. */
const COMPARABLE = 4;
const MARGIN = 0.05;
/** Beyond this float32 tells neighbouring pixels no longer apart. */
const DEEPEST = 20_000;

/** The smallest box around all points that have a place; null where none has. */
export function boundsOf(xy: Float32Array): Box | null {
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let at = 0; at < xy.length; at += 2) {
    const x = xy[at] ?? NaN;
    const y = xy[at + 1] ?? NaN;
    // a comparison with NaN is false
    if (x - x === 0 && y - y === 0) {
      x0 = x < x0 ? x : x0;
      x1 = x > x1 ? x : x1;
      y0 = y < y0 ? y : y0;
      y1 = y > y1 ? y : y1;
    }
  }
  return x0 <= x1 ? { x0, x1, y0, y1 } : null;
}

export function union(a: Box | null, b: Box | null): Box | null {
  return a === null || b === null
    ? (a ?? b)
    : {
        x0: Math.min(a.x0, b.x0),
        x1: Math.max(a.x1, b.x1),
        y0: Math.min(a.y0, b.y0),
        y1: Math.max(a.y1, b.y1)
      };
}

export function mixBoxes(a: Box, b: Box, t: number): Box {
  const mix = (from: number, to: number): number => from + (to - from) * t;
  return { x0: mix(a.x0, b.x0), x1: mix(a.x1, b.x1), y0: mix(a.y0, b.y0), y1: mix(a.y1, b.y1) };
}

/** The view that shows a box whole with a little air, on one scale where the two ranges are comparable. */
export function fitted(box: Box | null, width: number, height: number): Box {
  const { x0, x1, y0, y1 } = box ?? { x0: -1, x1: 1, y0: -1, y1: 1 };
  const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
  const least = Math.max(Math.abs(cx), Math.abs(cy), 1e-30) * 1e-6;
  let [dx, dy] = [Math.max(x1 - x0, 0), Math.max(y1 - y0, 0)];
  // a single point, or a straight line, has a width as well
  dx = dx > least ? dx : dy > least ? dy : 2;
  dy = dy > least ? dy : dx;
  if (dx / dy <= COMPARABLE && dy / dx <= COMPARABLE && width > 0 && height > 0) {
    const scale = Math.max(dx / width, dy / height);
    [dx, dy] = [scale * width, scale * height];
  }
  const [hx, hy] = [dx * (0.5 + MARGIN), dy * (0.5 + MARGIN)];
  return { x0: cx - hx, x1: cx + hx, y0: cy - hy, y1: cy + hy };
}

export function mapOf(view: Box, width: number, height: number): Map2 {
  const sx = width / (view.x1 - view.x0);
  const sy = -height / (view.y1 - view.y0);
  return { sx, ox: -view.x0 * sx, sy, oy: -view.y1 * sy };
}

/** Zoom about a point of the plane; a factor above 1 comes nearer. `home` bounds how near and how far. */
export function zoomed(view: Box, x: number, y: number, factor: number, home: Box): Box {
  const now = (view.x1 - view.x0) / (home.x1 - home.x0);
  const bounded = now / Math.min(50, Math.max(1 / DEEPEST, now / factor));
  const move = (edge: number, centre: number): number => centre + (edge - centre) / bounded;
  return { x0: move(view.x0, x), x1: move(view.x1, x), y0: move(view.y0, y), y1: move(view.y1, y) };
}

export function panned(view: Box, dx: number, dy: number): Box {
  return { x0: view.x0 + dx, x1: view.x1 + dx, y0: view.y0 + dy, y1: view.y1 + dy };
}

/** Whether two clouds lie in different places, so that a view of the one says nothing of the other. */
export function apart(a: Box | null, b: Box | null): boolean {
  if (a === null || b === null) {
    return true;
  }
  const one = (a0: number, a1: number, b0: number, b1: number): boolean => {
    const [wide, narrow] = [Math.max(a1 - a0, b1 - b0), Math.min(a1 - a0, b1 - b0)];
    return wide > 2 * narrow || Math.abs(a0 + a1 - b0 - b1) > wide;
  };
  return one(a.x0, a.x1, b.x0, b.x1) || one(a.y0, a.y1, b.y0, b.y1);
}
