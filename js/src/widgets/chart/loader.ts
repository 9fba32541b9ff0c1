/** A loader that loads nothing: a chart carries its data, and no address is ever asked for. */

import { loader as vegaLoader, type Loader } from 'vega';

const REFUSAL = 'A chart in nbinterp carries its data with it: give it the data, not an address.';

/** A loader that tells `complain` instead of loading: Vega itself would only write to the console. */
export function closedLoader(complain: (problem: string) => void): Loader {
  const refuse = (): Promise<never> => {
    complain(REFUSAL);
    return Promise.reject(new Error(REFUSAL));
  };
  return {
    ...vegaLoader(),
    load: refuse,
    http: refuse,
    file: refuse,
    sanitize: uri => (uri.startsWith('data:image/') ? Promise.resolve({ href: uri }) : refuse())
  };
}
