# Phoenix.Tracker, which Phoenix.Presence is made of, with its defaults. Its nodes connect to each other directly.
# Arguments: port, name of another node or "none". A user is a process, as a channel is, without a socket.
# GET / returns the users of all nodes, /track/COUNT adds users of this node, /left returns how many leaves it reported.
defmodule Presence do
  use Phoenix.Tracker

  def start_link(opts), do: Phoenix.Tracker.start_link(__MODULE__, opts, opts)
  def init(_), do: {:ok, 0}

  def handle_diff(diff, left) do
    left = Enum.reduce(diff, left, fn {_, {_, leaves}}, sum -> sum + length(leaves) end)
    :persistent_term.put(:left, left)
    {:ok, left}
  end
end

defmodule Http do
  def accept(listening) do
    {:ok, socket} = :gen_tcp.accept(listening)

    # Whoever waits for the server connects, and sends nothing.
    with {:ok, line} <- :gen_tcp.recv(socket, 0) do
      [_, path | _] = String.split(line, " ")
      body = answer(String.split(path, "/", trim: true))
      head = "HTTP/1.1 200 OK\r\nContent-Length: #{byte_size(body)}\r\nConnection: close\r\n\r\n"
      :gen_tcp.send(socket, head <> body)
    end

    :gen_tcp.close(socket)
    accept(listening)
  end

  defp answer([]) do
    users = for {user, _} <- Phoenix.Tracker.list(Presence, "users"), do: ~s("#{user}")
    "[#{Enum.join(users, ",")}]"
  end

  defp answer(["track", count]) do
    for number <- 1..String.to_integer(count) do
      pid = spawn(fn -> Process.sleep(:infinity) end)
      {:ok, _} = Phoenix.Tracker.track(Presence, pid, "users", "user-#{number}", %{})
    end

    "[]"
  end

  defp answer(["left"]), do: "#{:persistent_term.get(:left, 0)}"
end

[port, other] = System.argv()
if other != "none", do: Node.connect(String.to_atom(other))
{:ok, _} = Phoenix.PubSub.Application.start(:normal, [])
children = [{Phoenix.PubSub, name: App.PubSub}, {Presence, name: Presence, pubsub_server: App.PubSub}]
{:ok, _} = Supervisor.start_link(children, strategy: :one_for_one)
options = [:binary, packet: :line, active: false, reuseaddr: true, ip: {127, 0, 0, 1}]
{:ok, listening} = :gen_tcp.listen(String.to_integer(port), options)
Http.accept(listening)
