/** The playground as one drawing in the light theme: what a saved notebook shows. */

import { fixed } from '../../lib/angles';
import shared from '../../lib/drawing.figure.css';
import { html, svg } from '../../lib/elements';
import { figure, svgAddress, svgSource } from '../../lib/picture';
import type { Chance, PlaygroundAnswer } from '../../lib/protocol';
import { LIGHT, withLiterals } from '../../lib/theme';
import { percent, spoken, visible } from '../../lib/tokens';
import { likeliest } from '../../lib/bars';
import { written } from '../../lib/controls';
import { decimal, logitDifference, points, RUNS, type Answer, type Run } from './answer';
import { DOSE_HEIGHT, type Dose } from './dose';
import { siteOf, warningsOf, type Moment } from './moment';
import own from './playground.figure.css';

/** The style of all that is drawn, on the page and in the picture. */
export const SHEET = shared + own;

const WIDTH = 940;
const PAD = 18;
const TABLE = 420;
const LINE = 18;
const WIDE = 140; // characters

/** One intervention in words: "Italy at resid_post.12 on last: scale 4.0". */
export function actInWords(moment: Moment, index: number): string {
  const act = moment.setting.acts[index];
  const recipe = act === undefined ? undefined : moment.recipes.get(act.recipe);
  if (act === undefined) {
    return '';
  }
  const values = (recipe?.parameters ?? []).map(
    ({ name, step, start }) => `${name} ${written(act.values[name] ?? start, step)}`
  );
  const words = `${recipe?.name ?? act.recipe} at ${siteOf(act)} on ${act.tokens}`;
  return visible(`${index + 1}. ${words}${values.length > 0 ? `: ${values.join(', ')}` : ''}${act.on ? '' : ' (off)'}`);
}

/** What the picture says, for those who cannot see it. */
export function describePicture(moment: Moment, answer: PlaygroundAnswer): string {
  const { setting } = moment;
  const words = [`Playground on ${moment.spec.model}: ${promptInWords(moment)}`];
  words.push(...setting.acts.map((_, index) => actInWords(moment, index)));
  for (const { run, name } of RUNS) {
    const top = likeliest<Run>(answer.candidates, run);
    if (top !== null) {
      words.push(`${name}: ${spoken(top.text)} ${percent(top[run])}`);
    }
  }
  words.push(...warningsOf(answer).map(one => one.replace(/\.$/, '')));
  return visible(words.join('. ')).slice(0, 2000);
}

function promptInWords({ setting }: Moment): string {
  return setting.chat.length > 0
    ? setting.chat.map(turn => `${turn.role}: ${turn.content}`).join(' ⏎ ')
    : setting.prompt;
}

/** The figure that is written into the notebook. */
export function playgroundPicture(
  moment: Moment,
  shown: PlaygroundAnswer | null,
  answer: Answer,
  dose: Dose
): string | null {
  // numbers of another setting are not drawn beside this one
  if (shown === null || (!moment.current && !moment.still)) {
    return null;
  }
  const { acts } = moment.setting;
  const lines = acts.length === 0 ? ['untouched'] : acts.map((_, index) => actInWords(moment, index));
  const head = PAD + 26 + 22 + lines.length * LINE + 14;
  const rows = answer.shown;
  const plot = dose.drawing.cloneNode(true) as SVGSVGElement;
  const box = plot.viewBox.baseVal;
  const plotWidth = WIDTH - TABLE - 3 * PAD;
  const scale = Math.min(1, plotWidth / (box.width || plotWidth));
  const body = Math.max(34 + rows.length * 27, 30 + DOSE_HEIGHT * scale);
  const below = [...trackedInWords(shown), ...warningLines(shown)];
  const height = head + body + below.length * LINE + PAD;
  for (const [name, value] of Object.entries({
    x: TABLE + 2 * PAD,
    y: head + 26,
    width: plotWidth,
    height: DOSE_HEIGHT * scale
  })) {
    plot.setAttribute(name, fixed(value));
  }
  plot.querySelectorAll('.nbi-hover-line').forEach(line => line.remove());
  const title = shortened(promptInWords(moment), 110);
  const drawing = svg(
    'svg',
    { class: 'nbi-drawing', width: WIDTH, height, viewBox: `0 0 ${WIDTH} ${fixed(height)}` },
    svg('style', {}, withLiterals(SHEET, LIGHT)),
    svg('rect', { width: WIDTH, height: fixed(height), fill: LIGHT.surface }),
    svg(
      'text',
      { class: 'nbi-title nbi-heading-text', x: PAD, y: PAD + 8, 'xml:space': 'preserve' },
      visible(title).replace(/·/g, ' ')
    ),
    svg('text', { class: 'nbi-note', x: PAD, y: PAD + 28 }, `Playground · ${visible(moment.spec.model)}`),
    ...lines.map((text, index) =>
      svg('text', { class: 'nbi-row', x: PAD, y: PAD + 52 + index * LINE }, shortened(text, 130))
    ),
    drawBars(rows, answer.scale, PAD, head + 12, TABLE),
    ...(acts.length === 0
      ? []
      : [svg('text', { class: 'nbi-caption', x: TABLE + 2 * PAD, y: head + 12 }, 'dose-response')]),
    ...(acts.length === 0 ? [] : [plot]),
    ...below.map((text, index) =>
      svg('text', { class: 'nbi-note', x: PAD, y: fixed(head + body + 8 + index * LINE) }, shortened(text, WIDE))
    )
  );
  const source = withLiterals(svgSource(drawing), LIGHT);
  return figure(svgAddress(source), describePicture(moment, shown), numbersOf(shown.candidates));
}

/** What has to be known about the answer, in lines that fit. */
function warningLines(answer: PlaygroundAnswer): string[] {
  return warningsOf(answer).flatMap(one => {
    const lines = [''];
    for (const word of `! ${visible(one)}`.split(' ')) {
      const last = lines.length - 1;
      if ((lines[last] ?? '').length + word.length >= WIDE) {
        lines.push(`  ${word}`);
      } else {
        lines[last] = `${lines[last] ?? ''} ${word}`.trimStart();
      }
    }
    return lines;
  });
}

function trackedInWords({ tracked }: PlaygroundAnswer): string[] {
  const difference = logitDifference(tracked);
  const [a, b] = tracked.map(one => visible(one.text));
  return difference === null || a === undefined || b === undefined || !Number.isFinite(difference.changed)
    ? []
    : [
        `logit difference ${shortened(a, 20)} − ${shortened(b, 20)}: ${decimal(difference.base)} → ${decimal(difference.changed)} ` +
          `(random direction ${decimal(difference.control)})`
      ];
}

function drawBars(rows: readonly Chance[], scale: number, x: number, y: number, width: number): SVGGElement {
  const [name, number] = [84, 58];
  const track = width - name - 4 * number;
  const group = svg('g', { transform: `translate(${x} ${fixed(y)})` });
  const ends = (column: number): number => name + track + (column + 1) * number;
  const heads = [...RUNS.map(run => run.name), 'change'];
  heads.forEach((text, column) =>
    group.append(svg('text', { class: 'nbi-note nbi-end', x: ends(column), y: 0 }, text))
  );
  rows.forEach((row, index) => {
    const top = 10 + index * 27;
    const text = shortened(visible(row.text), 11);
    group.append(svg('text', { class: 'nbi-row nbi-end', x: name - 10, y: top + 15 }, text));
    RUNS.forEach(({ run }, at) => {
      const length = Math.max(0.5, Math.min(1, row[run] / scale) * (track - 8));
      group.append(
        svg('rect', { class: `nbi-bar-${run}`, x: name, y: top + 2 + at * 6, width: fixed(length), height: 4 }),
        svg('text', { class: 'nbi-row nbi-end', x: ends(at), y: top + 15 }, percent(row[run]))
      );
    });
    group.append(svg('text', { class: 'nbi-row nbi-end', x: ends(3), y: top + 15 }, points(row.changed - row.base)));
  });
  return group;
}

function shortened(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

function numbersOf(candidates: readonly Chance[]): HTMLTableElement {
  const names = ['next token', ...RUNS.map(run => run.name), 'change'];
  const head = html('tr', {}, ...names.map(name => html('th', {}, name)));
  const rows = candidates.map(one => {
    const cells = [visible(one.text), ...RUNS.map(({ run }) => percent(one[run])), points(one.changed - one.base)];
    return html('tr', {}, ...cells.map(text => html('td', {}, text)));
  });
  return html('table', {}, html('thead', {}, head), html('tbody', {}, ...rows));
}
