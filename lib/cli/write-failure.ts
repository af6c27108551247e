import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { showText } from './format.js'

/** Why a file could not be written: the system's words name the temporary file that was to take its place. */
export function explainWriteFailure(path: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  const folder = dirname(path)
  if (code === 'ENOENT' && !existsSync(folder)) return `the folder ${showText(folder)} does not exist`
  return code === undefined ? message : (reasons[code] ?? message)
}

const reasons: Record<string, string> = { EACCES: 'permission denied', EISDIR: 'it is a directory', ENOTDIR: 'part of its path is not a directory', ENOSPC: 'no space is left', EROFS: 'its file system is read-only' }
