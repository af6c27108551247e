import type { Agent, ClientRequest } from 'node:http'
import type { Agents } from './route.js'

/** What of a tough-cookie `CookieJar` is used. */
interface CookieJar {
  getCookiesSync(url: string): ReadonlyArray<{ readonly key: string; cookieString(): string }>
  setCookieSync(cookie: string, url: string, options: { ignoreError: boolean }): unknown
}

/** A jar, and the symbol by which axios-cookiejar-support knows its own agents. */
export interface MarkedJar {
  readonly jar: CookieJar
  readonly mark: symbol
}

/**
 * The jar of a request that axios-cookiejar-support has given agents of its own. These agents open connections; but all
 * that they are for is to carry the cookies of `config.jar`, which {@link carryCookies} does on pinned agents. The agents
 * themselves are never used, whoever made them.
 */
export function findCookieJar(jar: unknown, httpsAgent: unknown): MarkedJar | undefined {
  if (typeof httpsAgent !== 'object' || httpsAgent === null) return undefined
  const mark = Object.getOwnPropertySymbols(httpsAgent).find(({ description }) => description === 'AGENT_CREATED_BY_AXIOS_COOKIEJAR_SUPPORT')
  const { getCookiesSync, setCookieSync } = (typeof jar === 'object' && jar !== null ? jar : {}) as Partial<CookieJar>
  return mark && typeof getCookiesSync === 'function' && typeof setCookieSync === 'function' ? { jar: jar as CookieJar, mark } : undefined
}

/** The same agents with their pools, for requests that carry the cookies of a jar, each hop of a redirect those of its own URL. */
export function carryCookies({ http, https }: Agents, jar: MarkedJar): Agents {
  return { http: carry(http, jar), https: carry(https, jar) }
}

function carry<T extends Agent>(agent: T, { jar, mark }: MarkedJar): T {
  const next = agent as unknown as { addRequest(...args: unknown[]): void }
  const addRequest = (req: ClientRequest, ...rest: unknown[]): void => {
    const url = `${req.protocol}//${req.host}${req.path}`
    // What the jar throws reaches axios as what http.request() throws.
    setCookies(req, jar, url)
    // Before axios sees the answer: the next hop of a redirect starts there.
    req.prependOnceListener('response', ({ headers }) => {
      try {
        for (const cookie of headers['set-cookie'] ?? []) jar.setCookieSync(cookie, url, { ignoreError: true })
      } catch (error) {
        req.destroy(error as Error)
      }
    })
    next.addRequest(req, ...rest)
  }
  // With the mark: the package accepts only its own agents in the config of a request that is sent again.
  return Object.create(agent, { addRequest: { value: addRequest }, [mark]: { value: true } }) as T
}

/** The cookies of the request's own header come first where both have one of the same name. */
function setCookies(req: ClientRequest, jar: CookieJar, url: string): void {
  const cookies = new Map(jar.getCookiesSync(url).map((cookie) => [cookie.key, cookie.cookieString()]))
  for (const each of [req.getHeader('cookie')].flat().flatMap((value) => String(value ?? '').split(';'))) {
    const at = each.indexOf('=')
    if (at > 0) cookies.set(each.slice(0, at).trim(), each.trim())
  }
  if (cookies.size > 0) req.setHeader('Cookie', [...cookies.values()].join('; '))
}
