/** A picture that stands alone: axes, legend and representatives around the points. */

import { legendEntries, scaleStops, type LegendEntry } from '../colours';
import { html } from '../elements';
import type { Column } from '../protocol';
import { LIGHT } from '../theme';
import { visible } from '../tokens';
import type { Box, Map2 } from './camera';
import { MARKS } from './legend';
import { MARGIN } from './overlay';
import { format, roundStep, ticks } from './ticks';

/** Pixels a pixel: sharp enough, and a notebook stays small. */
export const SHARP = 1.5;
const LEGEND_WIDTH = 150;
const FONT = 'system-ui, sans-serif';

export interface Copied {
  width: number;
  height: number;
  view: Box;
  map: Map2;
  titles: { x: string; y: string };
  column: Column | null;
  lit: readonly (readonly [number, number])[];
  closed: boolean;
}

/** The address of a picture in which `points` draws the points; null where nothing can be drawn. */
export function drawCopy(copied: Copied, points: (context: CanvasRenderingContext2D) => void): string | null {
  const { width, height, column } = copied;
  const plot = width + MARGIN.left + MARGIN.right;
  const canvas = html('canvas', {
    width: SHARP * (plot + (column === null ? 0 : LEGEND_WIDTH)),
    height: SHARP * (height + MARGIN.top + MARGIN.bottom)
  });
  const context = canvas.getContext('2d');
  if (context === null || width <= 0 || height <= 0) {
    return null;
  }
  context.scale(SHARP, SHARP);
  context.fillStyle = LIGHT.surface;
  context.fillRect(0, 0, canvas.width, canvas.height);
  drawAxes(context, copied.view, copied.map, width, height, copied.titles);
  if (column !== null) {
    drawLegend(context, column, plot + 8);
  }
  points(context);
  drawLit(context, copied.lit, copied.closed);
  return canvas.toDataURL('image/png');
}

function drawAxes(
  context: CanvasRenderingContext2D,
  view: Box,
  map: Map2,
  width: number,
  height: number,
  titles: { x: string; y: string }
): void {
  const { left, top } = MARGIN;
  const bottom = top + height;
  const line = (x0: number, y0: number, x1: number, y1: number): void => {
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  };
  context.font = `11px ${FONT}`;
  context.fillStyle = LIGHT.muted;
  context.lineWidth = 1;
  context.strokeStyle = LIGHT.faint;
  context.textAlign = 'center';
  for (const tick of ticks(view.x0, view.x1, width / 90)) {
    const x = left + tick.value * map.sx + map.ox;
    line(x, top, x, bottom);
    context.fillText(tick.text, x, bottom + 16);
  }
  context.textAlign = 'right';
  for (const tick of ticks(view.y0, view.y1, height / 60)) {
    const y = top + tick.value * map.sy + map.oy;
    line(left, y, left + width, y);
    context.fillText(tick.text, left - 6, y + 4);
  }
  context.strokeStyle = LIGHT.line;
  line(left, top, left, bottom);
  line(left, bottom, left + width, bottom);
  context.font = `12px ${FONT}`;
  context.textAlign = 'center';
  context.fillText(titles.x === '' ? '' : visible(titles.x).slice(0, 80), left + width / 2, bottom + 34);
  context.save();
  context.translate(14, top + height / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(titles.y === '' ? '' : visible(titles.y).slice(0, 60), 0, 0);
  context.restore();
}

/** The rows of a representative, in pixels of the plot, joined and ringed. */
function drawLit(
  context: CanvasRenderingContext2D,
  places: readonly (readonly [number, number])[],
  closed: boolean
): void {
  const known = places.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  context.save();
  context.translate(MARGIN.left, MARGIN.top);
  context.strokeStyle = LIGHT.control;
  context.lineWidth = 2;
  context.beginPath();
  known.forEach(([x, y]) => context.lineTo(x, y));
  if (closed) {
    context.closePath();
  }
  for (const [x, y] of known) {
    context.moveTo(x + 5, y);
    context.arc(x, y, 5, 0, 2 * Math.PI);
  }
  context.stroke();
  context.restore();
}

const MOST_LABELS = 18;

/** What the colours mean, in a column that begins at `x`. */
function drawLegend(context: CanvasRenderingContext2D, column: Column, x: number): void {
  context.textAlign = 'left';
  context.fillStyle = LIGHT.ink;
  context.font = `600 12px ${FONT}`;
  context.fillText(shortened(column.name, 20), x, 22);
  context.font = `12px ${FONT}`;
  if (column.kind === 'number') {
    const width = LEGEND_WIDTH - 20;
    const ramp = context.createLinearGradient(x, 0, x + width, 0);
    const stops = scaleStops(column, false);
    stops.forEach((colour, index) => ramp.addColorStop(index / (stops.length - 1), colour));
    context.fillStyle = ramp;
    context.fillRect(x, 32, width, 12);
    context.fillStyle = LIGHT.muted;
    const step = column.high > column.low ? roundStep(column.low, column.high, 100) : 1;
    context.fillText(format(column.low, step), x, 60);
    context.textAlign = 'right';
    context.fillText(format(column.high, step), x + width, 60);
    return;
  }
  const entries = legendEntries(column);
  entries.slice(0, MOST_LABELS).forEach((entry, index) => drawEntry(context, entry, x, 40 + 19 * index));
  if (entries.length > MOST_LABELS) {
    context.fillStyle = LIGHT.muted;
    context.fillText(`… ${entries.length - MOST_LABELS} more`, x, 44 + 19 * MOST_LABELS);
  }
}

function drawEntry(context: CanvasRenderingContext2D, entry: LegendEntry, x: number, y: number): void {
  context.save();
  context.translate(x + 7, y);
  context.fillStyle = entry.colour;
  context.fill(new Path2D(MARKS[entry.shape]));
  context.restore();
  context.fillStyle = LIGHT.ink;
  context.fillText(shortened(entry.text, 18), x + 20, y + 4);
}

function shortened(text: string, letters: number): string {
  const shown = visible(text.slice(0, 4 * letters));
  return shown.length <= letters ? shown : `${shown.slice(0, letters - 1)}…`;
}
