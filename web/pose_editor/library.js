/** The picker of library poses: a grid of small figures that lies over the editor. */

import { drawThumbnail } from './drawing.js'

const [HEIGHT, WIDTH] = [90, 60]

/**
 * @param poses `[{ name, group, figure }]` on the frame `canvas` `{ height, width }`.
 * @param choose called with a pose; `close` when the picker is left without one.
 */
export function makePicker(poses, canvas, tables, choose, close) {
  const picker = document.createElement('div')
  picker.className = 'pcdm-picker'
  picker.hidden = true
  picker.setAttribute('role', 'dialog')
  picker.setAttribute('aria-label', 'Pose library')
  const search = document.createElement('input')
  search.type = 'search'
  search.placeholder = 'Search poses'
  search.setAttribute('aria-label', 'Search poses')
  search.addEventListener('input', () => filter(picker, search.value))
  picker.append(search)
  let list = null
  let group = ''
  for (const pose of poses) {
    if (pose.group !== group) {
      group = pose.group
      const heading = document.createElement('div')
      heading.className = 'pcdm-group'
      heading.textContent = group
      list = document.createElement('div')
      list.className = 'pcdm-poses'
      picker.append(heading, list)
    }
    list.append(makeButton(pose, canvas, tables, choose))
  }
  picker.addEventListener('wheel', (event) => event.stopPropagation(), { passive: true })
  picker.addEventListener('keydown', (event) => {
    const typing = event.target === search && search.value
    const step = typing ? 0 : { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (event.key === 'Escape') close()
    else if (step) {
      const buttons = [...picker.querySelectorAll('button:not([hidden])')]
      buttons[buttons.indexOf(document.activeElement) + step]?.focus()
      event.preventDefault()
    } else if (event.ctrlKey || event.metaKey) return
    event.stopPropagation()
  })
  return picker
}

/** Shows the poses in whose group or name every word occurs, and the headings that have some. */
function filter(picker, text) {
  const words = text.toLowerCase().split(/\s+/)
  for (const list of picker.querySelectorAll('.pcdm-poses')) {
    for (const button of list.children) {
      const name = button.getAttribute('aria-label').toLowerCase()
      button.hidden = !words.every((word) => name.includes(word))
    }
    const empty = !list.querySelector('button:not([hidden])')
    list.previousElementSibling.hidden = list.hidden = empty
  }
}

function makeButton(pose, canvas, tables, choose) {
  const button = document.createElement('button')
  button.type = 'button'
  button.title = pose.name
  button.setAttribute('aria-label', `${pose.group}: ${pose.name}`)
  const picture = document.createElement('canvas')
  const density = 2
  picture.height = HEIGHT * density
  picture.width = WIDTH * density
  const context = picture.getContext('2d')
  context.scale(density, density)
  drawThumbnail(context, pose.figure, tables, HEIGHT / canvas.height)
  button.append(picture)
  button.addEventListener('click', () => choose(pose))
  return button
}
