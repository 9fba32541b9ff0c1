/** The graph on a canvas: the input below, the logits above, heads by their number, MLPs at the right. */

import type { CircuitNode, CircuitSpec } from '../../lib/protocol';
import type { Palette } from '../../lib/theme';
import { visible } from '../../lib/tokens';
import type { Edge, Graph } from './moment';

const ROW = 24;
const BOX = { width: 46, height: 16 } as const;
const PAD = { left: 34, right: 12, top: 12, bottom: 12 } as const;
const WIDEST_COLUMN = 92;
export const FONT_FAMILY = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const FONT = `10.5px ${FONT_FAMILY}`;
/** So near to an edge the hand is on it. */
const NEAR = 5;
const SAMPLES = 14;
const WIDTHS = 8;
export const DASH = [5, 3];
const MOST_DASHED = 600;

interface Place {
  x: number;
  y: number;
}

/** What is told apart from the rest: by the hand, or by the selection. */
export interface Lit {
  nodes: ReadonlySet<number>;
  edge: Edge | null;
}

/** Where nodes lie; rows are only there for layers of which something is. */
export class Layout {
  readonly height: number;
  private readonly rows: ReadonlyMap<number, number>;
  private readonly column: number;

  constructor(
    private readonly spec: CircuitSpec,
    readonly width: number,
    layers: readonly number[]
  ) {
    const order = [...new Set([-1, ...layers, spec.n_layers])].sort((a, b) => b - a);
    this.rows = new Map(order.map((layer, row) => [layer, row]));
    this.height = PAD.top + PAD.bottom + order.length * ROW;
    this.column = Math.min(WIDEST_COLUMN, (width - PAD.left - PAD.right) / (spec.n_heads + 1));
  }

  get layers(): Iterable<[layer: number, row: number]> {
    return this.rows;
  }

  get box(): { width: number; height: number } {
    return { width: Math.min(BOX.width, this.column - 4), height: BOX.height };
  }

  /** How wide a node's box is: the two ends have room for their names on the narrowest page. */
  wideOf({ kind }: CircuitNode): number {
    return kind === 'input' || kind === 'logits' ? Math.max(this.box.width, BOX.width) : this.box.width;
  }

  yOf(row: number): number {
    return PAD.top + (row + 0.5) * ROW;
  }

  place({ kind, layer, head }: CircuitNode): Place {
    const column = kind === 'head' ? head : kind === 'mlp' ? this.spec.n_heads : this.spec.n_heads / 2;
    return { x: PAD.left + (column + 0.5) * this.column, y: this.yOf(this.rows.get(layer) ?? 0) };
  }
}

type Curve = readonly [Place, Place, Place, Place];

/** The control points of an edge: it leaves upwards and comes from below; between MLPs it bows to the side. */
function bend(from: Place, to: Place, { width, height }: { width: number; height: number }): Curve {
  if (Math.abs(from.x - to.x) < 1) {
    const side = Math.min(46, 8 + 0.12 * Math.abs(from.y - to.y));
    const [a, b] = [
      { x: from.x - width / 2, y: from.y },
      { x: to.x - width / 2, y: to.y }
    ];
    return [a, { x: a.x - side, y: a.y }, { x: b.x - side, y: b.y }, b];
  }
  const [a, b] = [
    { x: from.x, y: from.y - height / 2 },
    { x: to.x, y: to.y + height / 2 }
  ];
  const lift = Math.max(8, 0.5 * (a.y - b.y));
  return [a, { x: a.x, y: a.y - lift }, { x: b.x, y: b.y + lift }, b];
}

function along([a, b, c, d]: Curve, t: number): Place {
  const s = 1 - t;
  const mix = (p: number, q: number, r: number, o: number): number =>
    s ** 3 * p + 3 * s * s * t * q + 3 * s * t * t * r + t ** 3 * o;
  return { x: mix(a.x, b.x, c.x, d.x), y: mix(a.y, b.y, c.y, d.y) };
}

export interface Drawing {
  graph: Graph;
  layout: Layout;
  spec: CircuitSpec;
  palette: Palette;
  ratio: number;
}

export function curveOf({ layout, spec }: Drawing, edge: Edge): Curve | null {
  const [from, to] = [spec.nodes[edge.source], spec.nodes[edge.target]];
  return from === undefined || to === undefined ? null : bend(layout.place(from), layout.place(to), layout.box);
}

export function shareOf({ graph }: Drawing, edge: Edge): number {
  return graph.most > 0 ? Math.sqrt(Math.abs(edge.score) / graph.most) : 0;
}

/** The wider, the more. */
export function widthOf(share: number): number {
  return 0.6 + 4.4 * share;
}

function begin(ctx: CanvasRenderingContext2D, { layout, ratio }: Drawing): void {
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, layout.width, layout.height);
  ctx.font = FONT;
  ctx.textBaseline = 'middle';
}

/** Rows and all edges. Thousands of them are drawn in a few strokes of one width each, the strongest above the others. */
export function drawEdges(ctx: CanvasRenderingContext2D, drawing: Drawing): void {
  const { graph, layout, spec, palette } = drawing;
  begin(ctx, drawing);
  ctx.strokeStyle = palette.faint;
  ctx.lineWidth = 1;
  for (const [layer, row] of layout.layers) {
    const y = layout.yOf(row);
    if (layer >= 0 && layer < spec.n_layers) {
      ctx.beginPath();
      ctx.moveTo(PAD.left - 8, y);
      ctx.lineTo(layout.width - PAD.right, y);
      ctx.stroke();
    }
  }
  const strokes = Array.from({ length: 2 * WIDTHS }, () => new Path2D());
  for (const edge of graph.edges) {
    const curve = curveOf(drawing, edge);
    const width = Math.min(WIDTHS - 1, Math.floor(shareOf(drawing, edge) * WIDTHS));
    const path = strokes[2 * width + Number(edge.score < 0)];
    if (curve !== null && path !== undefined) {
      trace(path, curve);
    }
  }
  strokes.forEach((path, at) => {
    const share = (Math.floor(at / 2) + 0.5) / WIDTHS;
    const hinders = at % 2 === 1;
    style(ctx, palette, hinders, share);
    // dashes of a thousand edges are a haze: there a line under the hand says what it is
    ctx.setLineDash(hinders && graph.edges.length <= MOST_DASHED ? DASH : []);
    ctx.globalAlpha = 0.2 + 0.75 * share;
    ctx.stroke(path);
  });
  ctx.globalAlpha = 1;
  ctx.setLineDash([]);
}

/** What is told apart on the graph: by the hand, by the selection, and by what a followed Playground does. */
export interface Told {
  hovered: Lit;
  picked: ReadonlySet<number>;
  /** Lines of the edge that is picked. */
  edges: ReadonlySet<Edge>;
  acted: ReadonlySet<number>;
}

/** What is lit, and the nodes above it. */
export function drawNodes(ctx: CanvasRenderingContext2D, drawing: Drawing, told: Told): void {
  const { hovered, picked, edges, acted } = told;
  const { graph, layout, spec, palette } = drawing;
  begin(ctx, drawing);
  ctx.textAlign = 'left';
  ctx.fillStyle = palette.muted;
  for (const [layer, row] of layout.layers) {
    if (layer >= 0 && layer < spec.n_layers) {
      ctx.fillText(String(layer), 4, layout.yOf(row));
    }
  }
  const someLit = isAnyLit(hovered, picked);
  const lit = someLit ? graph.edges.filter(edge => isLit(edge, told)) : [];
  for (const edge of lit) {
    const curve = curveOf(drawing, edge);
    if (curve !== null) {
      const path = new Path2D();
      trace(path, curve);
      style(ctx, palette, edge.score < 0, shareOf(drawing, edge));
      ctx.lineWidth += edge === hovered.edge || edges.has(edge) ? 1.5 : 0;
      ctx.setLineDash(edge.score < 0 ? DASH : []);
      ctx.stroke(path);
    }
  }
  ctx.setLineDash([]);
  ctx.textAlign = 'center';
  const near = new Set(lit.flatMap(edge => [edge.source, edge.target]));
  for (const { index, node } of graph.nodes) {
    const { x, y } = layout.place(node);
    const { height } = layout.box;
    const wide = layout.wideOf(node);
    const chosen = picked.has(index);
    ctx.globalAlpha = !someLit || chosen || hovered.nodes.has(index) || near.has(index) ? 1 : 0.35;
    ctx.beginPath();
    ctx.roundRect(x - wide / 2, y - height / 2, wide, height, node.kind === 'mlp' ? 2 : 8);
    // what is acted on is told without colours as well: its frame is broken
    ctx.setLineDash(acted.has(index) ? [3, 3] : []);
    ctx.fillStyle = acted.has(index) ? palette.faint : palette.surface;
    ctx.fill();
    ctx.strokeStyle = chosen ? palette.control : hovered.nodes.has(index) ? palette.ink : palette.base;
    ctx.lineWidth = chosen ? 2.5 : hovered.nodes.has(index) ? 2 : 1;
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.fillStyle = palette.ink;
    ctx.fillText(visible(node.name), x, y + 0.5, wide - 2);
  }
  ctx.globalAlpha = 1;
}

export function isAnyLit(hovered: Lit, picked: ReadonlySet<number>): boolean {
  return hovered.nodes.size > 0 || hovered.edge !== null || picked.size > 0;
}

function isLit(edge: Edge, { hovered, picked, edges }: Told): boolean {
  if (hovered.nodes.size > 0 || hovered.edge !== null) {
    return edge === hovered.edge || touches(edge, hovered.nodes);
  }
  // an edge that is picked itself is lit alone, not with all that its ends have to do with
  return edges.size > 0 ? edges.has(edge) : touches(edge, picked);
}

function trace(path: Path2D, [a, b, c, d]: Curve): void {
  path.moveTo(a.x, a.y);
  path.bezierCurveTo(b.x, b.y, c.x, c.y, d.x, d.y);
}

/** What hinders is dashed as well: the sign is told without colours. */
function style(ctx: CanvasRenderingContext2D, palette: Palette, hinders: boolean, share: number): void {
  ctx.strokeStyle = hinders ? palette.control : palette.turned;
  ctx.lineWidth = widthOf(share);
}

function touches(edge: Edge, nodes: ReadonlySet<number>): boolean {
  return nodes.has(edge.source) || nodes.has(edge.target);
}

/** The node at a place, or none. */
export function nodeAt(graph: Graph, layout: Layout, x: number, y: number): number | null {
  const { width, height } = layout.box;
  const found = graph.nodes.find(({ node }) => {
    const at = layout.place(node);
    return Math.abs(x - at.x) <= Math.max(width, 24) / 2 + 1 && Math.abs(y - at.y) <= height / 2 + 2;
  });
  return found?.index ?? null;
}

/** The nearest edge to a place, or none; of those that are as near the strongest. */
export function edgeAt(graph: Graph, layout: Layout, spec: CircuitSpec, x: number, y: number): Edge | null {
  let best: Edge | null = null;
  let least = NEAR * NEAR;
  for (const edge of graph.edges) {
    const [from, to] = [spec.nodes[edge.source], spec.nodes[edge.target]];
    if (from === undefined || to === undefined) {
      continue;
    }
    const curve = bend(layout.place(from), layout.place(to), layout.box);
    const ys = curve.map(point => point.y);
    const xs = curve.map(point => point.x);
    if (
      y < Math.min(...ys) - NEAR ||
      y > Math.max(...ys) + NEAR ||
      x < Math.min(...xs) - NEAR ||
      x > Math.max(...xs) + NEAR
    ) {
      continue;
    }
    let before = along(curve, 0);
    for (let step = 1; step <= SAMPLES; step += 1) {
      const after = along(curve, step / SAMPLES);
      const distance = fromSegment(x, y, before, after);
      if (distance < least) {
        least = distance;
        best = edge;
      }
      before = after;
    }
  }
  return best;
}

function fromSegment(x: number, y: number, a: Place, b: Place): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - a.x) * dx + (y - a.y) * dy) / length));
  return (x - a.x - t * dx) ** 2 + (y - a.y - t * dy) ** 2;
}
