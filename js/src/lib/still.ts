/** A widget's state without Python behind it: in a saved notebook, or in a page of its own. */

import type { AnyModel, RenderProps } from '@anywidget/types';
import type { Pictured } from './picture';
import { bytesOf } from './selection';

// every bundle has its own copy of this file, and all mean the same
const STILL = Symbol.for('nbinterp.still');

const nobody = (): Promise<never> => Promise.reject(new Error('This view has no kernel behind it.'));

/** What a widget's render function gets where nobody answers. */
export function stillProps<T extends object>(state: T, el: HTMLElement, signal: AbortSignal): RenderProps<T> {
  return {
    model: stillModel(state),
    el,
    signal,
    host: { getModel: nobody, getWidget: nobody },
    experimental: { invoke: nobody }
  };
}

/** A model that holds its state, tells its listeners of changes, and sends nothing. */
export function stillModel<T extends object>(state: T): AnyModel<T> {
  const values = { ...state } as Record<string, unknown>;
  const listeners = new Map<string, Set<(...args: unknown[]) => void>>();
  const model = {
    [STILL]: true,
    get: (name: string) => values[name],
    set: (name: string, value: unknown) => {
      if (values[name] !== value) {
        values[name] = value;
        for (const event of [`change:${name}`, 'change']) {
          listeners.get(event)?.forEach(listener => listener());
        }
      }
    },
    on: (name: string, listener: (...args: unknown[]) => void) => {
      listeners.set(name, (listeners.get(name) ?? new Set()).add(listener));
    },
    off: (name?: string | null, listener?: ((...args: unknown[]) => void) | null) => {
      if (name === undefined || name === null) {
        listeners.clear();
      } else if (listener === undefined || listener === null) {
        listeners.delete(name);
      } else {
        listeners.get(name)?.delete(listener);
      }
    },
    save_changes: () => undefined,
    send: () => undefined,
    widget_manager: { get_model: nobody }
  };
  return model as unknown as AnyModel<T>;
}

/** JSON as Python writes a widget's state: bytes are {"$bytes": base64}. */
export function revive(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(revive);
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  const { $bytes: bytes } = value as { $bytes?: unknown };
  if (typeof bytes === 'string') {
    return new DataView(Uint8Array.from(atob(bytes), character => character.charCodeAt(0)).buffer);
  }
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, revive(one)]));
}

/** The reverse: a widget's value as JSON can hold it. */
export function preserve(value: unknown): unknown {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
    const bytes = bytesOf(value);
    let binary = '';
    for (let at = 0; at < bytes.length; at += 0x8000) {
      binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
    }
    return { $bytes: btoa(binary) };
  }
  if (Array.isArray(value)) {
    return value.map(preserve);
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, preserve(one)]));
  }
  return typeof value === 'number' && !Number.isFinite(value) ? null : value;
}

/** Let the JupyterLab extension keep a view's traits in the notebook, and set the hand's ones again after a restart. */
export function keepState<T extends object>(
  root: Pictured,
  model: AnyModel<T>,
  kept: readonly (keyof T & string)[],
  restored: readonly (keyof T & string)[] = []
): void {
  root.nbinterpState = () => Object.fromEntries(kept.map(name => [name, preserve(model.get(name))]));
  root.nbinterpRestore = state => {
    const known = restored.filter(name => name in state);
    known.forEach(name => model.set(name, revive(state[name]) as T[typeof name]));
    if (known.length > 0) {
      model.save_changes();
    }
  };
}

/** Whether nobody answers: a view then shows what it has, and hides what it cannot do. */
export function isStill(model: object): boolean {
  return STILL in model;
}
