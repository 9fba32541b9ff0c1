/** A widget's state without Python behind it: in a saved notebook, or in a page of its own. */

import type { AnyModel } from '@anywidget/types';

const STILL = Symbol('still');

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
    widget_manager: {
      get_model: () => Promise.reject(new Error('This view has no kernel behind it.'))
    }
  };
  return model as unknown as AnyModel<T>;
}

/** Whether nobody answers: a view then shows what it has, and hides what it cannot do. */
export function isStill(model: object): boolean {
  return STILL in model;
}
