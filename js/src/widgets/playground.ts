/** The Playground: a stack of interventions in hand, and the model's answer to it while the hand moves. */

import type { RenderProps } from '@anywidget/types';
import { Asking } from '../lib/asking';
import { likeliest } from '../lib/bars';
import { freshId, html } from '../lib/elements';
import { isTyping, keepKeys } from '../lib/keys';
import { lifeOf, onChange } from '../lib/life';
import type { Pictured } from '../lib/picture';
import type { PlaygroundAnswer } from '../lib/protocol';
import { keepState } from '../lib/still';
import { themeStyle } from '../lib/theme';
import { oncePerFrame, promptly, slowLight } from '../lib/timing';
import { visible } from '../lib/tokens';
import { Answer, type Run } from './playground/answer';
import { Dose } from './playground/dose';
import { follow } from './playground/follow';
import { Hand } from './playground/hand';
import { History } from './playground/history';
import {
  curveOf,
  inHand,
  readMoment,
  type Moment,
  type PlaygroundModel,
  type PlaygroundTraits
} from './playground/moment';
import { playgroundPicture, SHEET } from './playground/picture';
import './playground/playground.css';
import { Prompt } from './playground/prompt';
import { Speech } from './playground/speech';
import { Stack } from './playground/stack';
import { Top } from './playground/top';

const TRAITS = [
  ...(['spec', 'recipes', 'added', 'setting', 'selection', 'answer', 'curves', 'generated', 'kept'] as const),
  ...(['timeline', 'task', 'problem'] as const)
];
const PATIENCE = 150;
const NO_KERNEL = 'No kernel: what was computed is shown, and a slider whose curve was stored still slides.';

let views = 0;

/** What the widget needs of where it stands; the Atlas draws a Playground inside itself. */
export interface PlaygroundPlace {
  model: PlaygroundModel;
  el: HTMLElement;
  signal?: AbortSignal;
}

export function renderPlayground({ model, el, signal }: PlaygroundPlace): () => void {
  const life = lifeOf(el, signal);
  const root: Pictured = el;
  root.classList.add('nbinterp-widget', 'nbinterp-playground');
  root.tabIndex = -1;
  const name = freshId('playground');
  // one landmark a view, told from the others by its number
  root.setAttribute('role', 'region');
  root.setAttribute('aria-label', `Playground ${(views += 1)}`);

  const save = promptly(() => model.save_changes(), life.signal);
  let ownProblem = '';
  const trouble = (sentence: string): void => {
    ownProblem = sentence;
    redrawSoon();
  };
  const hand = new Hand(model, new Asking(model, life.signal), save, trouble, life.signal);

  const top = new Top(hand, life.signal);
  const prompt = new Prompt(hand, life.signal);
  const stack = new Stack(hand, life.signal);
  const answer = new Answer(hand, life.signal);
  const dose = new Dose(hand, name, life.signal);
  const speech = new Speech(hand, life.signal);
  const history = new History(hand, life.signal);
  const milliseconds = html('span', { class: 'nbi-milliseconds' });
  const note = html('p', { class: 'nbi-no-kernel' });
  const problem = html('p', { class: 'nbi-problem', role: 'alert' });
  const middle = html('div', { class: 'nbi-middle' }, stack.element, answer.element, dose.element, answer.tracking);
  root.replaceChildren(
    themeStyle(root, life.signal, SHEET),
    top.element,
    problem,
    prompt.element,
    answer.headline,
    middle,
    speech.element,
    history.element,
    html('div', { class: 'nbi-footer' }, milliseconds, note)
  );

  let waiting = false;
  const redraw = (): void => {
    const moment = readMoment(model);
    const shown = moment.still ? followed(moment) : moment.answer;
    const said = moment.problem === '' ? ownProblem : moment.problem;
    const trouble = said === '' ? '' : visible(said).slice(0, 1200);
    // after a problem nobody is working: the hand can be moved again
    const working = !moment.still && !moment.current && trouble === '';
    const stale = !moment.still && !moment.current && (waiting || trouble !== '');
    top.update(moment);
    prompt.update(moment);
    stack.update(moment, shown);
    middle.classList.toggle('nbi-long', moment.setting.acts.length > 4);
    answer.update(moment, shown, stale);
    dose.update(moment);
    speech.update(moment);
    history.update(moment);
    // an alert is only read aloud when its text changes
    if (problem.textContent !== trouble) {
      problem.textContent = trouble;
    }
    note.textContent = moment.still ? NO_KERNEL : '';
    const seconds = moment.answer === null ? '' : `answered in ${Math.round(moment.answer.milliseconds)} ms`;
    milliseconds.textContent = waiting ? 'asking the model…' : seconds;
    const best = (run: Run): string => likeliest<Run>(shown?.candidates ?? [], run)?.text ?? '';
    Object.assign(root.dataset, {
      ...{ moment: String(moment.setting.moment), answered: String(moment.answer?.moment ?? '') },
      ...{ topBase: best('base'), topChanged: best('changed'), topControl: best('control'), problem: trouble },
      ...{ working: String(working), still: String(moment.still) }
    });
    light(working);
  };
  const light = slowLight(
    on => {
      if (on !== waiting) {
        waiting = on;
        root.classList.toggle('nbi-waiting', on);
        root.setAttribute('aria-busy', String(on));
        redraw();
      }
    },
    PATIENCE,
    life.signal
  );
  const redrawSoon = oncePerFrame(redraw, life.signal);
  const forgive = (): void => void (ownProblem = '');

  onChange(model, TRAITS, redrawSoon, life.signal);
  // a change is another try
  onChange(model, ['setting'], forgive, life.signal);
  root.addEventListener('keydown', event => void undoKeys(event, top), { signal: life.signal });
  keepKeys(root, life.signal);
  const size = new ResizeObserver(() => {
    dose.resize();
    prompt.resize();
  });
  size.observe(root);
  life.signal.addEventListener('abort', () => size.disconnect());
  keepState(root, model, [...TRAITS], ['added', 'setting', 'kept', 'selection']);
  root.nbinterpPicture = () => {
    // what was set in this very frame belongs into the picture
    redraw();
    const moment = readMoment(model);
    return playgroundPicture(moment, moment.still ? followed(moment) : moment.answer, answer, dose);
  };
  redraw();
  return () => life.abort();
}

/** Ctrl+Z or ⌘Z undoes what the hand did, Shift with it redoes; in a text they are the text's own. */
function undoKeys(event: KeyboardEvent, top: Top): boolean {
  const control = (event.ctrlKey || event.metaKey) && !event.altKey;
  const key = event.key.toLowerCase();
  if (!control || isTyping(event.target) || (key !== 'z' && key !== 'y')) {
    return false;
  }
  event.preventDefault();
  event.stopPropagation();
  if (key === 'y' || event.shiftKey) {
    top.redo();
  } else {
    top.undo();
  }
  return true;
}

/** What is shown without Python: the stored answer, or where a slider was moved, the stored curve at its value. */
function followed(moment: Moment): PlaygroundAnswer | null {
  const held = inHand(moment);
  const curve = held === null ? null : curveOf(moment.curves, held.act.id, held.parameter.name);
  const value = held?.act.values[held.parameter.name];
  return moment.answer === null || moment.current || curve === null || value === undefined
    ? moment.answer
    : follow(moment.answer, curve, value);
}

function render({ model, el, signal }: RenderProps<PlaygroundTraits>): () => void {
  return renderPlayground({ model, el, signal });
}

export default { render };
