import { loadLevenshtein } from '../late.cjs'

/**
 * Those that look most like a word, the nearest first, for error texts.
 * @param furthest how many characters may differ
 * @returns none where the library cannot be loaded: an error is told all the same
 */
export function findAlike(word: string, candidates: readonly string[], furthest: (candidate: string) => number): string[] {
  try {
    const { distance } = loadLevenshtein()
    return candidates
      .map((candidate) => ({ candidate, far: distance(word, candidate) }))
      .filter(({ candidate, far }) => far <= furthest(candidate))
      .sort((a, b) => a.far - b.far)
      .map(({ candidate }) => candidate)
  } catch {
    return []
  }
}
