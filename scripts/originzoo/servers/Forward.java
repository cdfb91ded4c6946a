import java.io.*;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.*;

/** Hands a request to the application at 127.0.0.1:APP, and gives its answer back. */
final class Forward implements Closeable {
    static final Set<String> HOP = Set.of("connection", "keep-alive", "transfer-encoding", "content-length", "expect", "upgrade", "te", "http2-settings");
    final int status;
    final List<String[]> fields = new ArrayList<>();
    final InputStream body;
    private final Socket socket;

    static byte[] read(String path, InputStream in) throws IOException {
        try {
            if (path.equals("/late")) Thread.sleep(1000);
        } catch (InterruptedException e) {
            throw new IOException(e);
        }
        return in.readAllBytes();
    }

    Forward(String method, String target, List<String[]> sent, byte[] data) throws IOException {
        socket = new Socket("127.0.0.1", Integer.parseInt(System.getenv("APP")));
        StringBuilder b = new StringBuilder(method + " " + target + " HTTP/1.0\r\n");
        boolean length = data.length > 0;
        for (String[] f : sent) {
            String k = f[0].toLowerCase(Locale.ROOT);
            length |= k.equals("content-length") || k.equals("transfer-encoding");
            if (!HOP.contains(k) && !k.startsWith(":")) b.append(f[0] + ": " + f[1] + "\r\n");
        }
        if (length) b.append("Content-Length: " + data.length + "\r\n");
        OutputStream out = socket.getOutputStream();
        out.write((b + "\r\n").getBytes(StandardCharsets.ISO_8859_1));
        out.write(data);
        out.flush();
        body = new BufferedInputStream(socket.getInputStream());
        status = Integer.parseInt(line().split(" ")[1]);
        for (String l; !(l = line()).isEmpty();) {
            int colon = l.indexOf(':');
            String k = l.substring(0, colon);
            if (!HOP.contains(k.toLowerCase(Locale.ROOT)) || k.equalsIgnoreCase("content-length"))
                fields.add(new String[] {k, l.substring(colon + 1).trim()});
        }
    }

    private String line() throws IOException {
        StringBuilder b = new StringBuilder();
        for (int c; (c = body.read()) != '\n';) {
            if (c < 0) throw new EOFException();
            if (c != '\r') b.append((char) c);
        }
        return b.toString();
    }

    @Override public void close() throws IOException {
        socket.close();
    }
}
