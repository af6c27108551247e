/** Why a text is refused though `JSON.parse` might take it. */
export class StrictJsonError extends Error {
  constructor(readonly reason: 'malformed' | 'duplicate-key' | 'too-deep', message: string) {
    super(message)
  }
}

/** Lets other work run; called now and then while a long text is read. */
export type Pause = () => Promise<void>

export const immediate: Pause = () => new Promise((resolve) => setImmediate(resolve))

/**
 * Reads JSON in which no object names a key twice and nothing is nested deeper than `maxDepth`. `JSON.parse` itself takes
 * the last of two equal keys, and other readers the first: two parties would read two documents under one signature.
 *
 * @throws {StrictJsonError}
 */
export async function parseStrictJson(text: string, maxDepth: number, pause: Pause): Promise<unknown> {
  const value = parse(text)
  await demandSimple(text, maxDepth, pause)
  return value
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Its message would quote the text.
    throw new StrictJsonError('malformed', 'it is not JSON')
  }
}

/** The text is known to be JSON, so strings and brackets are all there is to look at. */
async function demandSimple(text: string, maxDepth: number, pause: Pause): Promise<void> {
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"(?:\s*:)?|[{}[\]]/g
  /** The keys of each object around the place that has been reached; `undefined` for an array. */
  const open: Array<Set<string> | undefined> = []
  let seen = 0
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    if (++seen % tokensPerTurn === 0) await pause()
    const [found] = match
    if (found === '{' || found === '[') {
      if (open.push(found === '{' ? new Set() : undefined) > maxDepth) throw new StrictJsonError('too-deep', `it is nested deeper than ${maxDepth} levels`)
    } else if (found === '}' || found === ']') {
      open.pop()
    } else if (found.endsWith(':')) {
      const key = JSON.parse(found.slice(0, found.lastIndexOf('"') + 1)) as string
      const keys = open.at(-1)
      if (keys?.has(key)) throw new StrictJsonError('duplicate-key', `one object has the key ${JSON.stringify(key.slice(0, 60))} twice`)
      keys?.add(key)
    }
  }
}

const tokensPerTurn = 5_000
