import axios from 'axios'
import { join } from 'node:path'

/** The axios under test: the installed one, or the one that AXIOS_VERSION names (`.ci/axios.mjs`). */
export const axiosVersion = axios.VERSION

/** Where it is, for processes that find packages by themselves. */
export const axiosFolder = join(__dirname, '../..', process.env['AXIOS_VERSION'] ? `.cache/axios-${process.env['AXIOS_VERSION']}` : '.', 'node_modules/axios')

/** Whether the axios under test is this version or a later one: `axiosIs('1.13')`. */
export function axiosIs(atLeast: string): boolean {
  const [wanted, present] = [atLeast, axiosVersion].map((version) => version.split('.').map(Number)) as [number[], number[]]
  const differing = [0, 1, 2].find((i) => (wanted[i] ?? 0) !== (present[i] ?? 0))
  return differing === undefined || (present[differing] ?? 0) > (wanted[differing] ?? 0)
}

/** What came later than the oldest axios that is supported. */
export const axiosHas = {
  /** `lookup` and `family`. */
  lookup: axiosIs('1.4'),
  /** `axios.getAdapter`, with which another adapter can be called. */
  getAdapter: axiosIs('1.5'),
  /** `adapter: 'fetch'`. */
  fetch: axiosIs('1.7'),
  /** `httpVersion: 2`. */
  http2: axiosIs('1.13'),
  /** `transitional.legacyInterceptorReqResOrdering`. */
  interceptorOrder: axiosIs('1.13.5')
}

/** What to expect of an axios from some version on; of an earlier one nothing. */
export function since<T>(atLeast: string, expected: T): T | undefined {
  return axiosIs(atLeast) ? expected : undefined
}

/** `test`, or a skipped one whose name says which axios it needs. */
export function testFrom(atLeast: string): (name: string, run: () => Promise<void>) => void {
  return (name, run) => (axiosIs(atLeast) ? test(name, run) : test.skip(`${name} (needs axios ${atLeast}; this is ${axiosVersion})`, run))
}
